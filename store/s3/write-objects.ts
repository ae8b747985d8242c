import type { PutObjectCommandInput } from '@aws-sdk/client-s3';
import { randomBytes } from 'node:crypto';
import type { Call, S3Connection } from './s3-connection.ts';
import { faultOf } from './s3-failure.ts';
import type { Encryption } from './s3-location.ts';

export interface PutRequest {
  name: string;
  bytes: Uint8Array;
  /** Of the bytes, where it is known: the request is then signed over it at no cost, and the service checks it. */
  sha256?: string | undefined;
}

/** Metadata that tells a writer whose answer was lost whether the object is its own. */
const writerKey = 'fretsaw-writer';

/**
 * One PUT that succeeds only when the name is free. True when this call took it: also when the first
 * try took it and its answer was lost.
 */
export async function putNew(
  connection: S3Connection,
  { name, bytes, sha256 }: PutRequest,
): Promise<boolean> {
  const writer = randomBytes(12).toString('base64url');
  const input: PutObjectCommandInput = {
    Bucket: connection.place.bucket,
    Key: connection.key(name),
    Body: bytes,
    ContentLength: bytes.length,
    IfNoneMatch: '*',
    Metadata: { [writerKey]: writer },
    ...encryptionInput(connection.place.encryption),
  };
  const created = await connection.call(`writing ${name}`, async (call) => {
    const command = new call.sdk.PutObjectCommand(input);
    presetPayloadHash(command, sha256 ?? (connection.signsPayload() ? undefined : 'UNSIGNED-PAYLOAD'));
    try {
      await call.client.send(command);
      return true;
    } catch (error) {
      if (faultOf(error).status !== 412) throw error;
      return call.isRepeat && (await writerOf(connection, call, name)) === writer;
    }
  });
  if (created === undefined) throw new Error(`bug: a PUT of ${name} found no such key`);
  return created;
}

async function writerOf(
  connection: S3Connection,
  { sdk, client }: Call,
  name: string,
): Promise<string | undefined> {
  const { Metadata } = await client.send(
    new sdk.HeadObjectCommand({ Bucket: connection.place.bucket, Key: connection.key(name) }),
  );
  return Metadata?.[writerKey];
}

export function encryptionInput(
  encryption: Encryption | undefined,
): Pick<PutObjectCommandInput, 'ServerSideEncryption' | 'SSEKMSKeyId'> {
  if (encryption === undefined) return {};
  if (encryption.kind === 'AES256') return { ServerSideEncryption: 'AES256' };
  return {
    ServerSideEncryption: 'aws:kms',
    ...(encryption.keyId === undefined ? {} : { SSEKMSKeyId: encryption.keyId }),
  };
}

/** The parts of an SDK command that setting a header needs, whatever the command is. */
interface Signable {
  middlewareStack: {
    add(
      middleware: (next: (args: HeaderArgs) => Promise<unknown>) => (args: HeaderArgs) => Promise<unknown>,
      options: { step: 'build'; name: string },
    ): void;
  };
}

interface HeaderArgs {
  request: unknown;
}

/** SigV4 takes what `x-amz-content-sha256` says instead of hashing the body itself. */
export function presetPayloadHash(command: object, hash: string | undefined): void {
  if (hash === undefined) return;
  (command as Signable).middlewareStack.add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers['x-amz-content-sha256'] = hash;
      return next(args);
    },
    { step: 'build', name: 'presetPayloadHash' },
  );
}
