import { setImmediate } from 'node:timers/promises';
import { chunkEnd } from '../cut/content-chunks.ts';
import type { Piece } from '../cut/cut-file.ts';
import { maxPieceBytes } from '../cut/cut-tensors.ts';
import type { SourceReader } from '../read-source.ts';
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

/**
 * Reads a file once, hashing it whole and piece by piece in the same pass, and hands on the pieces that
 * the store does not know. Holds one region of bytes. The packs of the layout that it returns have their
 * names once the pack writer has finished.
 */
export async function putPlanned(
  intake: PieceIntake,
  source: SourceReader,
  pieces: readonly Piece[],
): Promise<Layout> {
  const region = Buffer.allocUnsafe(maxPieceBytes);
  const placed: PlacedPiece[] = [];
  for (let first = 0; first < pieces.length;) {
    const { next, bytes } = regionOf(pieces, first);
    const filled = region.subarray(0, bytes);
    source.fill(filled);
    let at = 0;
    for (const piece of pieces.slice(first, next)) {
      placed.push(await put(intake, piece.group, filled.subarray(at, at + piece.length)));
      at += piece.length;
      await oneLess(intake, piece.group);
    }
    first = next;
    await setImmediate(); // others of this process have their turn
  }
  return layoutOf(source, placed);
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
      placed.push(await put(intake, group, rest.subarray(0, end)));
      rest = rest.subarray(end);
    }
    held = rest.copy(region);
    await setImmediate();
  }
  await intake.packs.complete(group);
  return layoutOf(source, placed);
}

/** As many pieces as one region holds, at least one. */
function regionOf(pieces: readonly Piece[], first: number): { next: number; bytes: number } {
  let bytes = 0;
  let next = first;
  for (; next < pieces.length; next++) {
    const length = pieces[next]?.length ?? 0;
    if (next > first && bytes + length > maxPieceBytes) break;
    bytes += length;
  }
  return { next, bytes };
}

async function put({ packs, index }: PieceIntake, group: string, bytes: Buffer): Promise<PlacedPiece> {
  const sha256 = sha256Bytes(bytes);
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
