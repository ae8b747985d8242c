import type { ByteRange } from '../object-backend.ts';
import { absent, freshBody, readPart, type Part } from './read-part.ts';
import type { S3Connection } from './s3-connection.ts';
import { bodyInMemory, type IncomingBody } from './wire-answer.ts';

/** A request carries this much: little enough to be tried again, enough that its cost is small. */
const partBytes = 8 << 20;
const partsAhead = 4;

/** All of an object or of a range of it, in memory; undefined when there is none. */
export async function readObject(
  connection: S3Connection,
  name: string,
  range?: ByteRange,
): Promise<Uint8Array | undefined> {
  if (range !== undefined && range.end <= range.start) return new Uint8Array();
  return (await readPart(connection, name, { range, land: freshBody }))?.bytes;
}

/** Parts in order, some of them under way while one is used. NOT_FOUND when there is no such object. */
export async function* streamObject(
  connection: S3Connection,
  name: string,
  { start, end }: ByteRange = { start: 0, end: Infinity },
): AsyncIterable<Uint8Array> {
  if (end <= start) return;
  const memory = createMemory();
  const read = (from: number, to: number): Promise<Part | undefined> =>
    readPart(connection, name, { range: { start: from, end: to }, land: memory.take });
  const first = await read(start, Math.min(end, start + partBytes));
  if (first === undefined) throw absent(name);
  yield first.bytes;
  memory.give(first.bytes);
  const last = Math.min(end, first.totalBytes);
  const ahead: Promise<Part | undefined>[] = [];
  let next = start + partBytes;
  const ask = (): void => {
    if (next >= last) return;
    const part = read(next, Math.min(last, next + partBytes));
    part.catch(() => undefined); // its turn to be thrown comes
    ahead.push(part);
    next += partBytes;
  };
  for (let n = 0; n < partsAhead; n++) ask();
  for (let part = ahead.shift(); part !== undefined; part = ahead.shift()) {
    const got = await part;
    if (got === undefined) throw absent(name);
    ask();
    yield got.bytes;
    memory.give(got.bytes);
  }
}

/** The parts of one stream use the same memory again: fresh memory costs a page fault every 4 KiB. */
function createMemory(): { take: (length: number) => IncomingBody; give: (bytes: Buffer) => void } {
  const free: ArrayBufferLike[] = [];
  return {
    take: (length) => {
      if (length > partBytes) return freshBody(length);
      return bodyInMemory(Buffer.from(free.pop() ?? Buffer.allocUnsafeSlow(partBytes).buffer, 0, length));
    },
    give: ({ buffer }) => {
      if (buffer.byteLength === partBytes) free.push(buffer);
    },
  };
}
