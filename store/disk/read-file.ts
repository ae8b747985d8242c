import { closeSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { ByteRange } from '../object-backend.ts';
import { diskFailure } from './disk-failure.ts';

/** Reads and hashes in pieces of this size; 64 KiB would halve the speed of sha256 (measured). */
export const chunkBytes = 1 << 20;

/** What there is of a range: fewer bytes when the file ends before it does. */
export function readRange(path: string, { start, end }: ByteRange): Uint8Array {
  const descriptor = openSync(path, 'r');
  try {
    const bytes = Buffer.allocUnsafe(end - start);
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got)
      got = readSync(descriptor, bytes, length, bytes.length - length, start + length);
    return bytes.subarray(0, length);
  } finally {
    closeSync(descriptor);
  }
}

export async function* streamFile(path: string, range?: ByteRange): AsyncIterable<Uint8Array> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw diskFailure(error, `reading ${path}`);
  });
  try {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    let position = range?.start ?? 0;
    const end = range?.end ?? Infinity;
    while (position < end) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(chunkBytes, end - position), position);
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}
