import { createHash } from 'node:crypto';
import type { FileEntry } from '../core/artifact.ts';
import { Failure } from '../core/errors.ts';
import type { Draft, NewObject, ObjectBackend } from './object-backend.ts';
import { objectNames } from './object-names.ts';
import { sha256Bytes } from './sha256.ts';

/** A batch is published when it holds this much, so that memory stays bounded and flushes are few. */
const batchObjects = 512;
const batchBytes = 32 << 20;
/** Each is an open file on disk. */
const batchDrafts = 16;

/** Blobs on their way in: bytes under their own sha256. What the store has already is not written again. */
export interface BlobBatch {
  add(sha256: string, content: Uint8Array | Draft): Promise<void>;
  /** Another object that goes with them, e.g. a file's layout. */
  addObject(object: NewObject): void;
  /** Publishes what is left, and after it `last`, which may then name all of it. */
  finish(last: NewObject): Promise<void>;
}

export function createBlobBatch(backend: ObjectBackend): BlobBatch {
  const seen = new Set<string>();
  let pending: NewObject[] = [];
  let pendingBytes = 0;
  let pendingDrafts = 0;
  async function publish(last?: NewObject): Promise<void> {
    const objects = pending;
    pending = [];
    pendingBytes = 0;
    pendingDrafts = 0;
    await backend.createMany(objects, last);
  }
  return {
    async add(sha256, content) {
      const isDraft = !(content instanceof Uint8Array);
      const sizeBytes = isDraft ? content.sizeBytes : content.length;
      if (seen.has(sha256) || (await hasBlob(backend, { sha256, size: sizeBytes }))) {
        if (isDraft) await content.discard();
        return;
      }
      seen.add(sha256);
      pending.push({ name: objectNames.blob(sha256), content });
      pendingBytes += isDraft ? 0 : sizeBytes;
      pendingDrafts += isDraft ? 1 : 0;
      const isFull =
        pending.length >= batchObjects || pendingBytes >= batchBytes || pendingDrafts >= batchDrafts;
      if (isFull) await publish();
    },
    addObject: (object) => {
      pending.push(object);
    },
    finish: (last) => publish(last),
  };
}

/** One look at its size. A blob of another size is broken: it goes to quarantine and counts as absent. */
export async function hasBlob(
  backend: ObjectBackend,
  { sha256, size }: Pick<FileEntry, 'sha256' | 'size'>,
): Promise<boolean> {
  const name = objectNames.blob(sha256);
  const found = await backend.head(name);
  if (found === undefined) return false;
  if (found.sizeBytes === size) return true;
  await backend.quarantine(name);
  return false;
}

/** All bytes of a blob, verified. */
export async function readBlob(backend: ObjectBackend, file: FileEntry): Promise<Uint8Array> {
  const bytes = await backend.get(objectNames.blob(file.sha256));
  if (bytes === undefined) throw lostBlob(file);
  if (bytes.length !== file.size || sha256Bytes(bytes) !== file.sha256)
    throw await corruptBlob(backend, file);
  return bytes;
}

export async function hashStream(
  chunks: AsyncIterable<Uint8Array>,
  sink?: (chunk: Uint8Array) => Promise<void>,
): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of chunks) {
    const written = sink?.(chunk);
    hash.update(chunk);
    await written;
  }
  return hash.digest('hex');
}

export function lostBlob(file: FileEntry): Failure {
  return new Failure(
    'NOT_FOUND',
    `the bytes of ${JSON.stringify(file.path)} (sha256 ${file.sha256}) are not in the store`,
    {
      details: { path: file.path, sha256: file.sha256 },
    },
  );
}

/**
 * What to throw for wrong bytes. They are read once more before they go to quarantine, because
 * between our look and now another process may have put the right ones there.
 */
export async function corruptBlob(backend: ObjectBackend, file: FileEntry): Promise<Failure> {
  const name = objectNames.blob(file.sha256);
  const found = await backend.head(name);
  const actual = found === undefined ? undefined : await hashStream(backend.stream(name));
  if (actual !== undefined && actual !== file.sha256) await backend.quarantine(name);
  return new Failure(
    'CORRUPT',
    `the bytes of ${JSON.stringify(file.path)} should have sha256 ${file.sha256} and size ${file.size}; ` +
      (actual === undefined ? 'they are gone' : `found sha256 ${actual} and size ${found?.sizeBytes ?? 0}`),
    { retryable: actual === file.sha256, details: { path: file.path, sha256: file.sha256 } },
  );
}
