import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { chunkEnd } from '../cut/content-chunks.ts';
import type { Piece } from '../cut/cut-file.ts';
import { maxPieceBytes } from '../cut/cut-tensors.ts';
import { stepBytes, type SourceReader } from '../read-source.ts';
import { sha256Bytes } from '../sha256.ts';
import type { Layout, PlacedPiece } from './layout.ts';
import type { PackWriter } from './pack-writer.ts';
import type { PieceIndex } from './piece-index.ts';

export interface PieceIntake {
  packs: PackWriter;
  index: PieceIndex;
  /** Pieces that are still to come in each group, over all files of the artifact. */
  left: Map<string, number>;
}

/** After so many bytes others of this process have their turn. */
const turnBytes = 16 << 20;

/**
 * Reads a file once, hashing it whole and piece by piece in the same pass, and hands on the pieces that
 * the store does not know. Holds one piece, or a run of small ones. The packs of the layout that it
 * returns have their names once the pack writer has finished.
 */
export async function putPlanned(
  intake: PieceIntake,
  source: SourceReader,
  pieces: readonly Piece[],
): Promise<Layout> {
  const buffer = Buffer.allocUnsafe(maxPieceBytes);
  const placed: PlacedPiece[] = [];
  let sinceTurn = 0;
  for (let first = 0; first < pieces.length;) {
    const { next, bytes } = runOf(pieces, first);
    const run = pieces.slice(first, next);
    for (const piece of hashRun(source, run, buffer.subarray(0, bytes))) {
      placed.push(await put(intake, piece));
      await oneLess(intake, piece.group);
    }
    first = next;
    sinceTurn += bytes;
    if (sinceTurn < turnBytes) continue;
    sinceTurn = 0;
    await setImmediate();
  }
  return layoutOf(source, placed);
}

interface HashedPiece {
  group: string;
  bytes: Buffer;
  sha256: string;
}

/** Both hashes of the same bytes while they are in the core's own cache: from memory the second costs half as much again (measured). */
function hashRun(source: SourceReader, run: readonly Piece[], bytes: Buffer): HashedPiece[] {
  const [only] = run;
  if (only !== undefined && run.length === 1) {
    const hash = createHash('sha256');
    source.fillWhole(bytes, (part) => hash.update(part));
    return [{ group: only.group, bytes, sha256: hash.digest('hex') }];
  }
  source.fillWhole(bytes);
  let at = 0;
  return run.map(({ group, length }) => {
    const own = bytes.subarray(at, at + length);
    at += length;
    return { group, bytes: own, sha256: sha256Bytes(own) };
  });
}

/** The same for a file that is cut by its content. */
export async function putChunked(intake: PieceIntake, source: SourceReader, group: string): Promise<Layout> {
  const region = Buffer.allocUnsafe(maxPieceBytes);
  const placed: PlacedPiece[] = [];
  let held = 0;
  for (let isEnd = false; !isEnd;) {
    const room = region.subarray(held);
    const got = source.fill(room);
    isEnd = got < room.length;
    let rest = region.subarray(0, held + got);
    for (let end = chunkEnd(rest, isEnd); end !== undefined; end = chunkEnd(rest, isEnd)) {
      const bytes = rest.subarray(0, end);
      placed.push(await put(intake, { group, bytes, sha256: sha256Bytes(bytes) }));
      rest = rest.subarray(end);
    }
    held = rest.copy(region);
    await setImmediate();
  }
  await intake.packs.complete(group);
  return layoutOf(source, placed);
}

/** One piece, or as many small ones as one step of reading holds. */
function runOf(pieces: readonly Piece[], first: number): { next: number; bytes: number } {
  let bytes = 0;
  let next = first;
  for (; next < pieces.length; next++) {
    const length = pieces[next]?.length ?? 0;
    if (next > first && bytes + length > stepBytes) break;
    bytes += length;
  }
  return { next, bytes };
}

async function put({ packs, index }: PieceIntake, piece: HashedPiece): Promise<PlacedPiece> {
  const { group, bytes, sha256 } = piece;
  return packs.find(sha256) ?? index.find(sha256) ?? packs.place(group, bytes, sha256);
}

async function oneLess({ packs, left }: PieceIntake, group: string): Promise<void> {
  const count = (left.get(group) ?? 0) - 1;
  left.set(group, count);
  if (count <= 0) await packs.complete(group);
}

function layoutOf(source: SourceReader, pieces: PlacedPiece[]): Layout {
  const { sha256, size } = source.finish();
  return { sha256, sizeBytes: size, pieces };
}
