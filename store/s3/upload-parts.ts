import type { CompletedPart } from '@aws-sdk/client-s3';
import { open, type FileHandle } from 'node:fs/promises';
import { Failure } from '../../core/errors.ts';
import { diskFailure } from '../disk/disk-failure.ts';
import { inParallel } from '../in-parallel.ts';
import type { S3Connection } from './s3-connection.ts';
import { encryptionInput, presetPayloadHash } from './write-objects.ts';

/** S3 takes 10,000 parts of 5 MiB to 5 GiB. https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
const partCountLimit = 10_000;
const usualPartBytes = 16 << 20;
/** Each holds one buffer of a part. */
const lanes = 4;

/** Uploads of this process: gc leaves them alone. */
export const ownUploads = new Set<string>();

interface Upload {
  connection: S3Connection;
  name: string;
  path: string;
  sizeBytes: number;
}

/**
 * A file as an object, by parts that are read, sent and tried again by themselves. Completion is
 * never conditional: a service may ignore the condition in silence, and under a name that is the
 * hash of the content a lost race does no harm. What fails is aborted; what is killed is found by gc.
 */
export async function uploadParts(upload: Upload): Promise<void> {
  const { connection, name } = upload;
  const uploadId = await begin(upload);
  ownUploads.add(uploadId);
  try {
    const parts = await sendParts(upload, uploadId);
    await complete(upload, uploadId, parts);
  } catch (error) {
    // What is not aborted now is found later; the first error says more than a second one.
    await abortUpload(connection, name, uploadId).catch(() => undefined);
    throw error;
  } finally {
    ownUploads.delete(uploadId);
  }
}

export async function abortUpload(connection: S3Connection, name: string, uploadId: string): Promise<void> {
  await connection.call(`aborting the upload of ${name}`, async ({ sdk, client }) => {
    await client.send(
      new sdk.AbortMultipartUploadCommand({ ...target(connection, name), UploadId: uploadId }),
    );
  });
}

async function begin({ connection, name }: Upload): Promise<string> {
  const id = await connection.call(`beginning the upload of ${name}`, async ({ sdk, client }) => {
    const { UploadId } = await client.send(
      new sdk.CreateMultipartUploadCommand({
        ...target(connection, name),
        ...encryptionInput(connection.place.encryption),
      }),
    );
    return UploadId;
  });
  if (id === undefined) throw new Error(`bug: ${name}: an upload without an id`);
  return id;
}

async function sendParts(
  { connection, name, path, sizeBytes }: Upload,
  uploadId: string,
): Promise<CompletedPart[]> {
  const partBytes = Math.max(usualPartBytes, Math.ceil(sizeBytes / partCountLimit));
  const count = Math.max(1, Math.ceil(sizeBytes / partBytes));
  const parts: CompletedPart[] = Array.from({ length: count }, (_, n) => ({ PartNumber: n + 1 }));
  const buffers = Array.from({ length: Math.min(lanes, count) }, () => Buffer.allocUnsafeSlow(partBytes));
  const file = await open(path, 'r').catch((error: unknown) => {
    throw diskFailure(error, `reading ${path}`);
  });
  try {
    await inParallel(parts, buffers.length, async (part, n) => {
      const buffer = buffers.pop();
      if (buffer === undefined) throw new Error('bug: more lanes than buffers');
      const bytes = await readPart(file, buffer, { at: n * partBytes, end: sizeBytes });
      const tag = await connection.call(
        `writing part ${n + 1} of ${count} of ${name}`,
        async ({ sdk, client }) => {
          const command = new sdk.UploadPartCommand({
            ...target(connection, name),
            UploadId: uploadId,
            PartNumber: n + 1,
            Body: bytes,
            ContentLength: bytes.length,
          });
          presetPayloadHash(command, connection.signsPayload() ? undefined : 'UNSIGNED-PAYLOAD');
          return (await client.send(command)).ETag;
        },
      );
      if (tag === undefined) throw abortedByOthers(name);
      part.ETag = tag;
      buffers.push(buffer);
    });
  } finally {
    await file.close();
  }
  return parts;
}

async function readPart(
  file: FileHandle,
  buffer: Buffer,
  { at, end }: { at: number; end: number },
): Promise<Buffer> {
  const wanted = Math.min(buffer.length, end - at);
  for (let length = 0; length < wanted;) {
    const { bytesRead } = await file.read(buffer, length, wanted - length, at + length);
    if (bytesRead === 0) throw new Error('bug: a draft that became shorter');
    length += bytesRead;
  }
  return buffer.subarray(0, wanted);
}

/** A repeated completion of an upload that is gone has succeeded when the object is there. */
async function complete(
  { connection, name, sizeBytes }: Upload,
  uploadId: string,
  parts: CompletedPart[],
): Promise<void> {
  const ended = await connection.call(`ending the upload of ${name}`, async ({ sdk, client, isRepeat }) => {
    try {
      await client.send(
        new sdk.CompleteMultipartUploadCommand({
          ...target(connection, name),
          UploadId: uploadId,
          MultipartUpload: { Parts: parts },
        }),
      );
    } catch (error) {
      if (!isRepeat || !(error instanceof Error) || error.name !== 'NoSuchUpload') throw error;
    }
    const { ContentLength } = await client.send(new sdk.HeadObjectCommand(target(connection, name)));
    if (ContentLength !== sizeBytes)
      throw Object.assign(new Error(`${name} has ${ContentLength ?? 0} bytes, not ${sizeBytes}`), {
        name: 'IncompleteBody',
      });
    return true;
  });
  if (ended === undefined) throw abortedByOthers(name);
}

function abortedByOthers(name: string): Failure {
  return new Failure('STORE_UNAVAILABLE', `the upload of ${name} was ended by somebody else`);
}

function target(connection: S3Connection, name: string): { Bucket: string; Key: string } {
  return { Bucket: connection.place.bucket, Key: connection.key(name) };
}
