import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { Failure } from '../../core/errors.ts';
import type { ByteRange } from '../object-backend.ts';
import type { Landing } from './direct-reads.ts';
import type { S3Connection } from './s3-connection.ts';
import { bodyInMemory } from './wire-answer.ts';

export interface Part {
  /** Empty when they went elsewhere. */
  bytes: Buffer;
  /** Size of the whole object. */
  totalBytes: number;
}

/**
 * All of an object or a range of it; undefined when there is none. A request that is tried again asks
 * for what `range` says then.
 */
export async function readPart(
  connection: S3Connection,
  name: string,
  { range, land }: { range: Readonly<ByteRange> | undefined; land: Landing['land'] },
): Promise<Part | undefined> {
  return connection.call(`reading ${name}`, async ({ sdk, client }) => {
    const input = { Bucket: connection.place.bucket, Key: connection.key(name) };
    const asked = range === undefined ? {} : { Range: `bytes=${range.start}-${range.end - 1}` };
    const landing: Landing = { land };
    let output: GetObjectCommandOutput;
    try {
      output = await client.send(new sdk.GetObjectCommand({ ...input, ...asked }), { landing } as object);
    } catch (error) {
      // The range begins at or after the end, which is all that can be said of an empty object.
      if (error instanceof Error && error.name === 'InvalidRange')
        return { bytes: Buffer.alloc(0), totalBytes: 0 };
      throw error;
    }
    const { bytes } = landing;
    if (bytes === undefined) throw new Failure('STORE_UNAVAILABLE', `${name}: an answer without its length`);
    const total = /\/(\d+)$/.exec(output.ContentRange ?? '')?.[1];
    return { bytes, totalBytes: total === undefined ? bytes.length : Number(total) };
  });
}

export function freshBody(length: number): ReturnType<typeof bodyInMemory> {
  return bodyInMemory(Buffer.allocUnsafeSlow(length));
}

export function absent(name: string): Failure {
  return new Failure('NOT_FOUND', `${name}: no such object`);
}
