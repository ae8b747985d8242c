import type { Draft, NewObject, ObjectBackend } from '../object-backend.ts';
import { objectNames } from '../object-names.ts';
import { sha256Text } from '../sha256.ts';
import type { PackRef, PlacedPiece } from './layout.ts';

/** Pieces from this size on are written as they come; smaller ones gather in memory first. */
const directBytes = 256 << 10;

/** One pack that is being filled. Its pieces refer to `ref`, which is complete once it was sealed. */
export interface PackBuilder {
  readonly pieces: readonly PlacedPiece[];
  readonly sizeBytes: number;
  /** Held in memory now. */
  readonly bufferedBytes: number;
  add(bytes: Uint8Array, sha256: string): Promise<PlacedPiece>;
  /** Moves what is in memory to the draft. */
  spill(): Promise<void>;
  seal(): Promise<NewObject & { ref: PackRef }>;
  discard(): Promise<void>;
}

export function createPackBuilder(backend: ObjectBackend): PackBuilder {
  const ref: PackRef = { sha256: '', sizeBytes: 0 };
  const pieces: PlacedPiece[] = [];
  let buffered: Uint8Array[] = [];
  let bufferedBytes = 0;
  let sizeBytes = 0;
  let draft: Draft | undefined;

  async function spill(): Promise<void> {
    draft ??= await backend.draft();
    if (bufferedBytes > 0) await draft.write(Buffer.concat(buffered));
    buffered = [];
    bufferedBytes = 0;
  }

  return {
    pieces,
    get sizeBytes() {
      return sizeBytes;
    },
    get bufferedBytes() {
      return bufferedBytes;
    },
    spill,
    async add(bytes, sha256) {
      const piece = { pack: ref, offset: sizeBytes, length: bytes.length, sha256 };
      pieces.push(piece);
      sizeBytes += bytes.length;
      if (bytes.length < directBytes) {
        buffered.push(Uint8Array.from(bytes)); // the reader uses its buffer again
        bufferedBytes += bytes.length;
        return piece;
      }
      await spill();
      await draft?.write(bytes);
      return piece;
    },
    async seal() {
      const { name, trailer } = packTrailer(pieces);
      ref.sha256 = name;
      ref.sizeBytes = sizeBytes + trailer.length;
      buffered.push(trailer);
      bufferedBytes += trailer.length;
      if (draft === undefined) return { ref, name: objectNames.pack(name), content: Buffer.concat(buffered) };
      await spill();
      return { ref, name: objectNames.pack(name), content: draft };
    },
    async discard() {
      buffered = [];
      await draft?.discard();
    },
  };
}

/**
 * What ends a pack: its table, one JSON line of [length, sha256] per piece, and the table's length as 11
 * decimal digits and a line feed. The pack's name is the sha256 of the table, so every piece can be
 * verified by the name alone and no byte is hashed a third time.
 */
export function packTrailer(pieces: readonly Pick<PlacedPiece, 'length' | 'sha256'>[]): {
  name: string;
  trailer: Buffer;
} {
  const rows = pieces.map(({ length, sha256 }) => [length, sha256]);
  const table = `${JSON.stringify({ schema: 'fretsaw/pack/v1', pieces: rows })}\n`;
  const size = String(table.length).padStart(packEndBytes - 1, '0');
  return { name: sha256Text(table), trailer: Buffer.from(`${table}${size}\n`, 'latin1') };
}

/** The table's length: digits and a line feed. */
export const packEndBytes = 12;
