import { existsSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Failure } from '../../core/errors.ts';
import { createOpenFiles, type OpenFiles } from '../disk/open-files.ts';
import type { ObjectBackend } from '../object-backend.ts';
import { objectNames } from '../object-names.ts';
import { sha256Bytes } from '../sha256.ts';
import { packsOf, type PackRef, type PlacedPiece } from './layout.ts';

/** A layer's packs are read in turn for each of its tensors: that many stay open. */
const openPacks = 160;
/** Small enough for a core's own cache, so that hashing finds there what reading has left. */
const stepBytes = 256 << 10;
/** After so many bytes others of this process have their turn. */
const turnBytes = 8 << 20;
/** Pieces that are on their way from a remote store at once, and their bytes. */
const remotePieces = 32;
const remoteBytes = 96 << 20;

/** The bytes of these pieces, one after another, unverified. A chunk is valid until the next is asked for. */
export async function* streamPieces(
  backend: ObjectBackend,
  pieces: readonly PlacedPiece[],
): AsyncIterable<Uint8Array> {
  const files = createOpenFiles(openPacks);
  try {
    // A cache may hold some of them: what is not all here comes through the backend, which looks there first.
    if (packsOf(pieces).every((pack) => isLocal(backend, pack))) yield* streamLocal(backend, files, pieces);
    else yield* streamRemote(backend, pieces);
  } finally {
    files.close();
  }
}

/** One piece, verified. NOT_FOUND, CORRUPT (its pack goes to quarantine). */
export async function readPiece(backend: ObjectBackend, piece: PlacedPiece): Promise<Uint8Array> {
  const name = objectNames.pack(piece.pack.sha256);
  const bytes = await backend.get(name, { start: piece.offset, end: piece.offset + piece.length });
  if (bytes === undefined) throw lostPack(piece.pack);
  if (bytes.length === piece.length && sha256Bytes(bytes) === piece.sha256) return bytes;
  await backend.quarantine(name);
  throw new Failure(
    'CORRUPT',
    `${name} at ${piece.offset}: expected ${piece.length} bytes with sha256 ${piece.sha256}, found ${bytes.length} with ${sha256Bytes(bytes)}`,
    { details: { pack: piece.pack.sha256 } },
  );
}

export function lostPack(pack: PackRef): Failure {
  return new Failure('NOT_FOUND', `the pack ${pack.sha256} is not in the store`, {
    details: { pack: pack.sha256 },
  });
}

function isLocal(backend: ObjectBackend, pack: PackRef): boolean {
  const path = backend.localPath(objectNames.pack(pack.sha256));
  return path !== undefined && existsSync(path);
}

async function* streamLocal(
  backend: ObjectBackend,
  files: OpenFiles,
  pieces: readonly PlacedPiece[],
): AsyncIterable<Uint8Array> {
  const buffer = Buffer.allocUnsafe(stepBytes);
  let sinceTurn = 0;
  for (const { pack, offset, length } of adjoined(pieces)) {
    const name = objectNames.pack(pack.sha256);
    const path = backend.localPath(name);
    for (let done = 0; done < length; done += stepBytes) {
      const step = buffer.subarray(0, Math.min(stepBytes, length - done));
      const at = offset + done;
      const bytes =
        (path === undefined ? undefined : files.readAt(path, step, at)) ??
        (await backend.get(name, { start: at, end: at + step.length })); // another process made room of the copy
      if (bytes === undefined) throw lostPack(pack);
      yield bytes;
      sinceTurn += bytes.length;
      if (bytes.length < step.length) return; // a truncated pack: whoever hashes the bytes sees it
      if (sinceTurn < turnBytes) continue;
      sinceTurn = 0;
      await setImmediate();
    }
  }
}

async function* streamRemote(
  backend: ObjectBackend,
  pieces: readonly PlacedPiece[],
): AsyncIterable<Uint8Array> {
  const runs = [...adjoined(pieces)];
  const coming: { length: number; bytes: Promise<Uint8Array | undefined> }[] = [];
  let next = 0;
  let bytesComing = 0;
  for (const run of runs) {
    for (
      ;
      next < runs.length &&
      coming.length < remotePieces &&
      (coming.length === 0 || bytesComing < remoteBytes);
      next++
    ) {
      const { pack, offset, length } = runs[next] ?? run;
      const bytes = backend.get(objectNames.pack(pack.sha256), { start: offset, end: offset + length });
      bytes.catch(() => undefined); // it is thrown when its turn comes
      coming.push({ length, bytes });
      bytesComing += length;
    }
    const bytes = await coming.shift()?.bytes;
    bytesComing -= run.length;
    if (bytes === undefined) throw lostPack(run.pack);
    yield bytes;
  }
}

interface Run {
  pack: PackRef;
  offset: number;
  length: number;
}

/** Pieces that follow one another in one pack, as one run of at most 16 MiB. */
function* adjoined(pieces: readonly PlacedPiece[]): Iterable<Run> {
  let run: Run | undefined;
  for (const { pack, offset, length } of pieces) {
    const follows = run?.pack.sha256 === pack.sha256 && run.offset + run.length === offset;
    if (run !== undefined && follows && run.length + length <= 16 << 20) run.length += length;
    else {
      if (run !== undefined) yield run;
      run = { pack, offset, length };
    }
  }
  if (run !== undefined) yield run;
}
