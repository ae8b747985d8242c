import { Failure } from '../../core/errors.ts';
import { exactKeys, parseStored } from '../stored-json.ts';

/** A pack as it is stored: its name and its size in bytes. */
export interface PackRef {
  sha256: string;
  sizeBytes: number;
}

/** A run of a file's bytes: where they are in a pack, and what they are. */
export interface PlacedPiece {
  pack: PackRef;
  offset: number;
  length: number;
  sha256: string;
}

/** How one file's bytes are kept: its pieces, in the order of the file. `sha256` is the file's. */
export interface Layout {
  sha256: string;
  sizeBytes: number;
  pieces: PlacedPiece[];
}

const schema = 'fretsaw/layout/v1';
const piecesKey = ',"pieces":';

/** Packs come first, so that whoever only asks whether they are there need not parse the rest. */
export function layoutText({ sha256, sizeBytes, pieces }: Layout): string {
  const packs = packsOf(pieces);
  const numbers = new Map(packs.map((pack, number) => [pack.sha256, number]));
  const head = {
    schema,
    sha256,
    size: sizeBytes,
    packs: packs.map((pack) => [pack.sha256, pack.sizeBytes]),
  };
  const rows = pieces.map((piece) => [
    numbers.get(piece.pack.sha256),
    piece.offset,
    piece.length,
    piece.sha256,
  ]);
  return `${JSON.stringify(head).slice(0, -1)}${piecesKey}${JSON.stringify(rows)}}\n`;
}

/** In the order of their first use. */
export function packsOf(pieces: readonly PlacedPiece[]): PackRef[] {
  return [...new Map(pieces.map(({ pack }) => [pack.sha256, pack])).values()];
}

/** CORRUPT unless the text is a layout of this file. */
export function parseLayout(text: string, sha256: string): Layout {
  const where = `layout of ${sha256}`;
  const keys = ['schema', 'sha256', 'size', 'packs', 'pieces'];
  const raw = exactKeys(parseStored(text, schema, where), keys, where);
  const packs = parsePacks(raw['packs'], where);
  if (!Array.isArray(raw['pieces'])) throw new Failure('CORRUPT', `${where}: expected a list of pieces`);
  const pieces = raw['pieces'].map((row: unknown) => parsePiece(row, packs, where));
  const sizeBytes = pieces.reduce((sum, { length }) => sum + length, 0);
  if (raw['sha256'] !== sha256 || raw['size'] !== sizeBytes)
    throw new Failure('CORRUPT', `${where}: its pieces have ${sizeBytes} bytes, and it says otherwise`);
  return { sha256, sizeBytes, pieces };
}

/** Only what must be there for the file to be there. */
export function parseLayoutPacks(text: string, sha256: string): { sizeBytes: number; packs: PackRef[] } {
  const where = `layout of ${sha256}`;
  const end = text.indexOf(piecesKey);
  if (end < 0 || !text.endsWith(']]}\n')) throw new Failure('CORRUPT', `${where}: it is cut off`);
  const head = parseStored(`${text.slice(0, end)}}`, schema, where);
  if (head['sha256'] !== sha256 || typeof head['size'] !== 'number')
    throw new Failure('CORRUPT', `${where}: it is of another file`);
  return { sizeBytes: head['size'], packs: parsePacks(head['packs'], where) };
}

function parsePacks(value: unknown, where: string): PackRef[] {
  if (!Array.isArray(value)) throw new Failure('CORRUPT', `${where}: expected a list of packs`);
  return value.map((row: unknown) => {
    const [sha256, sizeBytes] = Array.isArray(row) ? (row as unknown[]) : [];
    if (!isSha256(sha256) || !isCount(sizeBytes))
      throw new Failure('CORRUPT', `${where}: expected [sha256, size], found ${JSON.stringify(row)}`);
    return { sha256, sizeBytes };
  });
}

function parsePiece(row: unknown, packs: readonly PackRef[], where: string): PlacedPiece {
  const [number, offset, length, sha256] = Array.isArray(row) ? (row as unknown[]) : [];
  const pack = typeof number === 'number' ? packs[number] : undefined;
  const isPlaced = isSha256(sha256) && isCount(offset) && isCount(length);
  if (pack === undefined || !isPlaced || offset + length > pack.sizeBytes)
    throw new Failure('CORRUPT', `${where}: no such piece: ${JSON.stringify(row)}`);
  return { pack, offset, length, sha256 };
}

export function isSha256(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
