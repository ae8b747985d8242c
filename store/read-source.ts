import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';
import { Failure } from '../core/errors.ts';
import { diskFailure } from './disk/disk-failure.ts';
import type { FoundFile } from './folder-files.ts';

/** Files up to this size are read at once; greater ones pass through in two buffers of it. */
export const wholeFileBytes = 1 << 20;

// Never through a link that was put there since, and never waiting for a pipe.
const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** A small file. CORRUPT when it changes while it is read. */
export function readWhole(file: FoundFile): Uint8Array {
  const descriptor = reading(file, () => openSync(file.source, flags));
  try {
    return reading(file, () => {
      const before = fstatSync(descriptor);
      const bytes = Buffer.allocUnsafe(before.size + 1);
      let length = 0;
      for (let got = -1; got !== 0 && length < bytes.length; length += got) {
        got = readSync(descriptor, bytes, length, bytes.length - length, null);
      }
      checkUnchanged(file, { before, after: fstatSync(descriptor), length });
      return bytes.subarray(0, length);
    });
  } finally {
    closeSync(descriptor);
  }
}

/**
 * A file that is read from front to back, hashed as it passes. Reads are synchronous: through the thread
 * pool they cost a tenth more CPU, because another core's cache gets the bytes (measured).
 */
export interface SourceReader {
  /** Bytes at a position, beside the pass and not hashed: for headers. */
  peek(position: number, length: number): Buffer;
  /** Fills `target` as far as the file goes; returns how many bytes came. */
  fill(target: Buffer): number;
  /** Fills all of `target`, and shows each part of it to `seen` while it is hot. CORRUPT when the file ends before. */
  fillWhole(target: Buffer, seen?: (part: Buffer) => void): void;
  /** After the last byte. CORRUPT when the file changed while it was read. */
  finish(): { sha256: string; size: number };
  close(): void;
}

/** Small enough for a core's own cache, so that hashing finds there what reading has left. */
export const stepBytes = 256 << 10;

export function openSource(file: FoundFile): SourceReader {
  const descriptor = reading(file, () => openSync(file.source, flags));
  const before = reading(file, () => fstatSync(descriptor));
  const hash = createHash('sha256');
  let length = 0;
  function readAt(target: Buffer, position: number): number {
    return reading(file, () => {
      let done = 0;
      for (let got = -1; got !== 0 && done < target.length; done += got)
        got = readSync(descriptor, target, done, target.length - done, position + done);
      return done;
    });
  }
  function fill(target: Buffer, seen?: (part: Buffer) => void): number {
    let filled = 0;
    while (filled < target.length) {
      const step = target.subarray(filled, filled + stepBytes);
      const got = readAt(step, length);
      const part = got === step.length ? step : step.subarray(0, got);
      hash.update(part);
      seen?.(part);
      filled += got;
      length += got;
      if (got < step.length) break;
    }
    return filled;
  }
  return {
    peek(position, wanted) {
      const bytes = Buffer.allocUnsafe(wanted);
      return bytes.subarray(0, readAt(bytes, position));
    },
    fill: (target) => fill(target),
    fillWhole(target, seen) {
      if (fill(target, seen) < target.length) throw changed(file, before.size, fstatSync(descriptor).size);
    },
    finish() {
      checkUnchanged(file, { before, after: fstatSync(descriptor), length });
      return { sha256: hash.digest('hex'), size: length };
    },
    close() {
      closeSync(descriptor);
    },
  };
}

/** A great file: each chunk goes to `sink` while it is hashed, in one pass. */
export async function readHashing(
  file: FoundFile,
  sink?: (chunk: Uint8Array) => Promise<void>,
): Promise<{ sha256: string; size: number }> {
  const handle = await open(file.source, flags).catch((error: unknown) => {
    throw diskFailure(error, `reading ${file.source}`);
  });
  try {
    const before = await handle.stat();
    const hash = createHash('sha256');
    let [buffer, other] = [Buffer.allocUnsafe(wholeFileBytes), Buffer.allocUnsafe(wholeFileBytes)];
    let length = 0;
    let reads = handle.read(buffer, 0, wholeFileBytes, 0);
    for (;;) {
      const { bytesRead } = await reads;
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      length += bytesRead;
      const written = sink?.(chunk);
      hash.update(chunk);
      await written;
      [buffer, other] = [other, buffer];
      reads = handle.read(buffer, 0, wholeFileBytes, length);
    }
    checkUnchanged(file, { before, after: await handle.stat(), length });
    return { sha256: hash.digest('hex'), size: length };
  } catch (error) {
    throw diskFailure(error, `reading ${file.source}`);
  } finally {
    await handle.close();
  }
}

function checkUnchanged(file: FoundFile, read: { before: Stats; after: Stats; length: number }): void {
  const { before, after, length } = read;
  if (length === before.size && after.size === before.size && after.mtimeMs === before.mtimeMs) return;
  throw changed(file, before.size, after.size);
}

function changed({ source }: FoundFile, before: number, after: number): Failure {
  return new Failure(
    'CORRUPT',
    `${source} changed while it was read: ${before} bytes before, ${after} after`,
  );
}

function reading<T>(file: FoundFile, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw diskFailure(error, `reading ${file.source}`);
  }
}
