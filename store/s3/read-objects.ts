import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { Readable } from 'node:stream';
import { Failure } from '../../core/errors.ts';
import type { ByteRange } from '../object-backend.ts';
import type { S3Connection } from './s3-connection.ts';

/** A request carries this much: little enough to be tried again, enough that its cost is small. */
const pieceBytes = 8 << 20;
const piecesAhead = 4;

interface Piece {
  bytes: Uint8Array;
  /** Size of the whole object. */
  totalBytes: number;
}

/** All of an object or of a range of it, in memory; undefined when there is none. */
export async function readObject(
  connection: S3Connection,
  name: string,
  range?: ByteRange,
): Promise<Uint8Array | undefined> {
  if (range !== undefined && range.end <= range.start) return new Uint8Array();
  return (await readPiece(connection, name, range))?.bytes;
}

/** Pieces in order, some of them under way while one is used. NOT_FOUND when there is no such object. */
export async function* streamObject(
  connection: S3Connection,
  name: string,
  { start, end }: ByteRange = { start: 0, end: Infinity },
): AsyncIterable<Uint8Array> {
  if (end <= start) return;
  const first = await readPiece(connection, name, { start, end: Math.min(end, start + pieceBytes) });
  if (first === undefined) throw absent(name);
  yield first.bytes;
  const last = Math.min(end, first.totalBytes);
  const ahead: Promise<Piece | undefined>[] = [];
  let next = start + pieceBytes;
  const ask = (): void => {
    if (next >= last) return;
    const piece = readPiece(connection, name, { start: next, end: Math.min(last, next + pieceBytes) });
    piece.catch(() => undefined); // its turn to be thrown comes
    ahead.push(piece);
    next += pieceBytes;
  };
  for (let n = 0; n < piecesAhead; n++) ask();
  for (let piece = ahead.shift(); piece !== undefined; piece = ahead.shift()) {
    const got = await piece;
    if (got === undefined) throw absent(name);
    ask();
    yield got.bytes;
  }
}

async function readPiece(
  connection: S3Connection,
  name: string,
  range: ByteRange | undefined,
): Promise<Piece | undefined> {
  return connection.call(`reading ${name}`, async ({ sdk, client }) => {
    const input = { Bucket: connection.place.bucket, Key: connection.key(name) };
    const asked = range === undefined ? {} : { Range: `bytes=${range.start}-${range.end - 1}` };
    let output: GetObjectCommandOutput;
    try {
      output = await client.send(new sdk.GetObjectCommand({ ...input, ...asked }));
    } catch (error) {
      // The range begins at or after the end, which is all that can be said of an empty object.
      if (error instanceof Error && error.name === 'InvalidRange')
        return { bytes: new Uint8Array(), totalBytes: 0 };
      throw error;
    }
    const bytes = await collect(output);
    const total = /\/(\d+)$/.exec(output.ContentRange ?? '')?.[1];
    return { bytes, totalBytes: total === undefined ? bytes.length : Number(total) };
  });
}

/** Exactly as many bytes as were announced; anything else was cut off, and is tried again. */
function collect({ Body, ContentLength }: GetObjectCommandOutput): Promise<Uint8Array> {
  if (!(Body instanceof Readable) || ContentLength === undefined)
    throw new Failure('STORE_UNAVAILABLE', 'an answer without a body or its length');
  const bytes = Buffer.allocUnsafeSlow(ContentLength);
  return new Promise((resolve, reject) => {
    let length = 0;
    Body.on('data', (chunk: Buffer) => {
      length += chunk.copy(bytes, length);
    });
    Body.once('error', reject);
    Body.once('close', () => {
      if (length === ContentLength) resolve(bytes);
      else reject(Object.assign(new Error(`${length} of ${ContentLength} bytes came`), { code: 'ECUTOFF' }));
    });
  });
}

function absent(name: string): Failure {
  return new Failure('NOT_FOUND', `${name}: no such object`);
}
