import type { PackRef, PlacedPiece } from './layout.ts';

const hashBytes = 32;

/**
 * sha256 of a piece -> where it is. Open addressing over typed arrays: 44 bytes a slot, a fifth of what a
 * Map of strings takes, because a store has millions of pieces.
 */
export interface PieceTable {
  readonly count: number;
  find(sha256: string): PlacedPiece | undefined;
  /** The newest place wins. */
  set(piece: PlacedPiece): void;
  /** Pieces in this pack are not found any more, until one is set in it again. */
  forgetPack(sha256: string): void;
  all(): Iterable<PlacedPiece>;
}

export function createPieceTable(): PieceTable {
  let slots = 1 << 12;
  let hashes = Buffer.alloc(slots * hashBytes);
  let places = new Uint32Array(slots * 3); // pack's number + 1 (0: free), offset, length
  let count = 0;
  const packs: PackRef[] = [];
  const numbers = new Map<string, number>();
  const forgotten = new Set<string>();

  function slotOf(hash: Buffer): number {
    let slot = hash.readUInt32LE(0) & (slots - 1);
    while (
      places[slot * 3] !== 0 &&
      hashes.compare(hash, 0, hashBytes, slot * hashBytes, (slot + 1) * hashBytes) !== 0
    )
      slot = (slot + 1) & (slots - 1);
    return slot;
  }

  function numberOf(pack: PackRef): number {
    const known = numbers.get(pack.sha256);
    if (known !== undefined) return known;
    numbers.set(pack.sha256, packs.length);
    return packs.push({ ...pack }) - 1;
  }

  function grow(): void {
    const old = { slots, hashes, places };
    slots *= 2;
    hashes = Buffer.alloc(slots * hashBytes);
    places = new Uint32Array(slots * 3);
    for (let slot = 0; slot < old.slots; slot++) {
      if (old.places[slot * 3] === 0) continue;
      const hash = old.hashes.subarray(slot * hashBytes, (slot + 1) * hashBytes);
      const to = slotOf(hash);
      hash.copy(hashes, to * hashBytes);
      places.set(old.places.subarray(slot * 3, slot * 3 + 3), to * 3);
    }
  }

  function pieceAt(slot: number): PlacedPiece | undefined {
    const pack = packs[(places[slot * 3] ?? 0) - 1];
    if (pack === undefined || forgotten.has(pack.sha256)) return undefined;
    const sha256 = hashes.toString('hex', slot * hashBytes, (slot + 1) * hashBytes);
    return { pack, offset: places[slot * 3 + 1] ?? 0, length: places[slot * 3 + 2] ?? 0, sha256 };
  }

  return {
    get count() {
      return count;
    },
    find: (sha256) => pieceAt(slotOf(Buffer.from(sha256, 'hex'))),
    set(piece) {
      if (count * 4 >= slots * 3) grow();
      forgotten.delete(piece.pack.sha256);
      const hash = Buffer.from(piece.sha256, 'hex');
      const slot = slotOf(hash);
      if (places[slot * 3] === 0) count++;
      hash.copy(hashes, slot * hashBytes);
      places.set([numberOf(piece.pack) + 1, piece.offset, piece.length], slot * 3);
    },
    forgetPack(sha256) {
      forgotten.add(sha256);
    },
    *all() {
      for (let slot = 0; slot < slots; slot++) {
        const piece = pieceAt(slot);
        if (piece !== undefined) yield piece;
      }
    },
  };
}
