import { packEndBytes } from '../pieces/pack-builder.ts';
import { sha256Bytes } from '../sha256.ts';

/**
 * Whether bytes are those that their name stands for: a blob's is their sha256, a pack's that of the
 * table at its end, which says length and sha256 of all before it. Undefined for names of other kinds.
 */
export function isRight(name: string, bytes: Uint8Array): boolean | undefined {
  const [, kind, expected] = /^(blobs|packs)\/.*([0-9a-f]{64})$/.exec(name) ?? [];
  if (kind === undefined) return undefined;
  return kind === 'blobs' ? sha256Bytes(bytes) === expected : isRightPack(bytes, expected ?? '');
}

function isRightPack(bytes: Uint8Array, expected: string): boolean {
  const end = bytes.length - packEndBytes;
  if (end < 0) return false;
  const tableBytes = Number(Buffer.from(bytes.subarray(end)).toString('latin1'));
  if (!Number.isSafeInteger(tableBytes) || tableBytes < 0 || tableBytes > end) return false;
  const table = bytes.subarray(end - tableBytes, end);
  if (sha256Bytes(table) !== expected) return false;
  let at = 0;
  for (const [length, sha256] of piecesOf(table)) {
    if (sha256Bytes(bytes.subarray(at, at + length)) !== sha256) return false;
    at += length;
  }
  return at + tableBytes + packEndBytes === bytes.length;
}

/** The table is what its name says, so it is of the form that packs have. */
function piecesOf(table: Uint8Array): [length: number, sha256: string][] {
  const { pieces } = JSON.parse(Buffer.from(table).toString('utf8')) as { pieces: [number, string][] };
  return pieces;
}
