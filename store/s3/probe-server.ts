import { createHash, randomBytes } from 'node:crypto';
import { inParallel } from '../in-parallel.ts';
import type { S3Connection } from './s3-connection.ts';
import { faultOf } from './s3-failure.ts';
import { removeOne } from './remove-objects.ts';
import { presetPayloadHash, putNew } from './write-objects.ts';

/** What a service does with what it is told; found out by trying, because services promise more than they keep. */
export interface ServerHonours {
  schema: 'fretsaw/server/v1';
  /** Of many PUTs at once with If-None-Match: * one succeeds (`atomic`); only of two in a row; or the header is ignored. */
  createOnly: 'atomic' | 'in-sequence' | 'ignored';
  /** Bytes that are not those whose sha256 the signed request names. */
  payloadHash: 'refused' | 'accepted';
  /** Bytes that do not have the checksum in `x-amz-checksum-*`. */
  checksums: { sha256: 'refused' | 'accepted'; crc32: 'refused' | 'accepted' };
  versioning: 'enabled' | 'suspended' | 'off' | 'unknown';
  objectLock: 'enabled' | 'off' | 'unknown';
  probedAt: string;
}

const races = 3;
const writers = 10;

/** Below `probes/` of the store; what it wrote is removed again. */
export async function probeServer(connection: S3Connection): Promise<ServerHonours> {
  const folder = `probes/${randomBytes(9).toString('base64url')}`;
  const written: string[] = [];
  const name = (what: string): string => {
    written.push(`${folder}/${what}`);
    return `${folder}/${what}`;
  };
  try {
    return {
      schema: 'fretsaw/server/v1',
      createOnly: await probeCreateOnly(connection, name),
      payloadHash: await refuses(connection, name('payload'), 'payload'),
      checksums: {
        sha256: await refuses(connection, name('sha256'), 'sha256'),
        crc32: await refuses(connection, name('crc32'), 'crc32'),
      },
      versioning: await probeVersioning(connection),
      objectLock: await probeObjectLock(connection),
      probedAt: new Date().toISOString(),
    };
  } finally {
    await inParallel(written, writers, (one) => removeOne(connection, one)).catch(() => undefined); // who may not remove leaves a few bytes behind
  }
}

async function probeCreateOnly(
  connection: S3Connection,
  name: (what: string) => string,
): Promise<ServerHonours['createOnly']> {
  const twice = name('twice');
  await putNew(connection, { name: twice, bytes: Buffer.from('first') });
  if (await putNew(connection, { name: twice, bytes: Buffer.from('second') })) return 'ignored';
  for (let race = 0; race < races; race++) {
    const at = name(`race-${race}`);
    const all = await Promise.all(
      Array.from({ length: writers }, (_, n) => putNew(connection, { name: at, bytes: Buffer.from(`${n}`) })),
    );
    if (all.filter(Boolean).length !== 1) return 'in-sequence';
  }
  return 'atomic';
}

/** A PUT of other bytes than it says. */
async function refuses(
  connection: S3Connection,
  name: string,
  what: 'payload' | 'sha256' | 'crc32',
): Promise<'refused' | 'accepted'> {
  const other = createHash('sha256').update('other bytes').digest();
  const result = await connection.call(`probing ${what}`, async ({ sdk, client }) => {
    const command = new sdk.PutObjectCommand({
      Bucket: connection.place.bucket,
      Key: connection.key(name),
      Body: Buffer.from('bytes'),
      ...(what === 'sha256' ? { ChecksumSHA256: other.toString('base64') } : {}),
      ...(what === 'crc32' ? { ChecksumCRC32: other.subarray(0, 4).toString('base64') } : {}),
    });
    if (what === 'payload') presetPayloadHash(command, other.toString('hex'));
    try {
      await client.send(command);
      return 'accepted' as const;
    } catch (error) {
      const { status } = faultOf(error);
      if (status === 400 || status === 422) return 'refused' as const;
      throw error;
    }
  });
  return result ?? 'accepted';
}

async function probeVersioning(connection: S3Connection): Promise<ServerHonours['versioning']> {
  try {
    const status = await connection.call('asking for versioning', async ({ sdk, client }) => {
      return (await client.send(new sdk.GetBucketVersioningCommand({ Bucket: connection.place.bucket })))
        .Status;
    });
    if (status === undefined) return 'off';
    return status === 'Enabled' ? 'enabled' : 'suspended';
  } catch {
    return 'unknown'; // not every service, and not every user, may ask
  }
}

async function probeObjectLock(connection: S3Connection): Promise<ServerHonours['objectLock']> {
  try {
    return (
      (await connection.call('asking for object lock', async ({ sdk, client }) => {
        const { ObjectLockConfiguration } = await client.send(
          new sdk.GetObjectLockConfigurationCommand({ Bucket: connection.place.bucket }),
        );
        return ObjectLockConfiguration?.ObjectLockEnabled === 'Enabled'
          ? ('enabled' as const)
          : ('off' as const);
      })) ?? 'off'
    );
  } catch (error) {
    const code =
      error instanceof Error && 'details' in error ? (error.details as { s3?: string }).s3 : undefined;
    return code === 'ObjectLockConfigurationNotFoundError' ? 'off' : 'unknown';
  }
}
