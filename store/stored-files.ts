import type { FileEntry } from '../core/artifact.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { corruptBlob, hasBlob, hashStream, lostBlob, readBlob } from './blobs.ts';
import { wholeUpToBytes } from './cut/cut-file.ts';
import type { ObjectBackend } from './object-backend.ts';
import { objectNames } from './object-names.ts';
import { packsOf, type Layout, type PlacedPiece } from './pieces/layout.ts';
import { isLaidOut, laidOut, readLayout } from './pieces/layouts.ts';
import { readPiece, streamPieces } from './pieces/read-pieces.ts';

/** Whether a file's bytes are there, as one blob or in pieces. Reads none of them. */
export async function hasFile(
  backend: ObjectBackend,
  file: Pick<FileEntry, 'sha256' | 'size'>,
): Promise<boolean> {
  if (await hasBlob(backend, file)) return true;
  return file.size > wholeUpToBytes && (await isLaidOut(backend, file));
}

/** Which of these files are not there; one question for all blobs, and one for all packs. A broken blob goes to quarantine. */
export async function missingFiles(
  backend: ObjectBackend,
  files: readonly FileEntry[],
): Promise<FileEntry[]> {
  const sizes = await backend.headMany(files.map(({ sha256 }) => objectNames.blob(sha256)));
  const others = files.filter((file, n) => sizes[n]?.sizeBytes !== file.size);
  for (const [n, file] of files.entries())
    if (sizes[n] !== undefined && sizes[n].sizeBytes !== file.size) await hasBlob(backend, file);
  const there = new Set(
    await laidOut(
      backend,
      others.filter(({ size }) => size > wholeUpToBytes),
    ),
  );
  return others.filter((file) => !there.has(file));
}

/** All bytes of a file at once, verified. NOT_FOUND, CORRUPT. */
export async function readFileBytes(backend: ObjectBackend, file: FileEntry): Promise<Uint8Array> {
  const stored = await layoutOf(backend, file);
  if (stored === undefined) return readBlob(backend, file);
  const bytes = Buffer.allocUnsafe(file.size);
  let at = 0;
  await copyPieces(backend, { file, ...stored }, async (chunk) => {
    bytes.set(chunk, at);
    at += chunk.length;
  });
  return bytes;
}

/** Hands a file's bytes to `sink` and fails at the end unless they were the right ones. */
export async function copyFileBytes(
  backend: ObjectBackend,
  file: FileEntry,
  sink: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  const stored = await layoutOf(backend, file);
  if (stored !== undefined) {
    await copyPieces(backend, { file, ...stored }, sink);
    return;
  }
  if ((await backend.head(objectNames.blob(file.sha256))) === undefined) throw lostBlob(file);
  const actual = await hashStream(backend.stream(objectNames.blob(file.sha256)), sink);
  if (actual !== file.sha256) throw await corruptBlob(backend, file);
}

/** Bytes `start` to `end` of a file, verified by the pieces they are in; a file of one blob is read whole. */
export async function readFileRange(
  backend: ObjectBackend,
  file: FileEntry,
  range: { start: number; end: number },
): Promise<Uint8Array> {
  const stored = await layoutOf(backend, file);
  if (stored === undefined) return (await readBlob(backend, file)).subarray(range.start, range.end);
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const piece of stored.layout.pieces) {
    const begin = at;
    at += piece.length;
    if (at <= range.start || begin >= range.end) continue;
    const bytes = await readPiece(backend, piece);
    parts.push(bytes.subarray(Math.max(range.start - begin, 0), range.end - begin));
  }
  return Buffer.concat(parts);
}

/** Names of the packs that hold these files' bytes, each once. */
export async function packsOfFiles(backend: ObjectBackend, files: readonly FileEntry[]): Promise<string[]> {
  const names = new Set<string>();
  for (const file of files) {
    const stored = await layoutOf(backend, file);
    for (const pack of packsOf(stored?.layout.pieces ?? [])) names.add(objectNames.pack(pack.sha256));
  }
  return [...names];
}

/** Undefined when the file is one blob, or nowhere. */
async function layoutOf(backend: ObjectBackend, file: FileEntry): Promise<StoredLayout | undefined> {
  if (file.size <= wholeUpToBytes) return undefined;
  if ((await backend.head(objectNames.blob(file.sha256))) !== undefined) return undefined;
  const found = await readLayout(backend, file.sha256);
  return found?.layout.sizeBytes === file.size ? found : undefined;
}

interface StoredLayout {
  name: string;
  layout: Layout;
}

async function copyPieces(
  backend: ObjectBackend,
  { file, name, layout }: { file: FileEntry } & StoredLayout,
  sink: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  const actual = await hashStream(streamPieces(backend, layout.pieces), sink);
  if (actual === file.sha256) return;
  await findBroken(backend, file, layout.pieces);
  // Every piece is what the layout says, so the layout says something else than this file.
  await backend.quarantine(name);
  throw new Failure(
    'CORRUPT',
    `the pieces of ${JSON.stringify(file.path)} should have sha256 ${file.sha256}; together they have ${actual}`,
    { details: { path: file.path, sha256: file.sha256 } },
  );
}

/** Throws for the first piece that is not what it should be; its pack goes to quarantine. */
async function findBroken(
  backend: ObjectBackend,
  file: FileEntry,
  pieces: readonly PlacedPiece[],
): Promise<void> {
  for (const piece of pieces) {
    await readPiece(backend, piece).catch((error: unknown) => {
      if (!isFailure(error)) throw error;
      throw new Failure(error.code, `${JSON.stringify(file.path)}: ${error.message}`, {
        details: { ...error.details, path: file.path, sha256: file.sha256 },
        cause: error,
      });
    });
  }
}
