import { inParallel } from '../in-parallel.ts';
import type { ByteRange, Draft } from '../object-backend.ts';
import { absent, readPart } from './read-part.ts';
import type { S3Connection } from './s3-connection.ts';
import type { IncomingBody } from './wire-answer.ts';

/** A pack is one part. Between two requests a connection waits for the first byte: few of them. */
const partBytes = 64 << 20;
const partsAtOnce = 4;
/** Written where it was read, while it is in a core's own cache: 1 MiB costs three times the system time (measured). */
const blockBytes = 256 << 10;

/** A whole object into a draft, by parts side by side; a part that breaks goes on where it was. NOT_FOUND, DISK_FULL. */
export async function fetchObject(connection: S3Connection, name: string, draft: Draft): Promise<void> {
  const fetchPart = async (range: ByteRange): Promise<number> => {
    const got = await readPart(connection, name, {
      range,
      land: (length) => bodyInFile(draft, range, length),
    });
    if (got === undefined) throw absent(name);
    return got.totalBytes;
  };
  const totalBytes = await fetchPart({ start: 0, end: partBytes });
  const rest: ByteRange[] = [];
  for (let start = partBytes; start < totalBytes; start += partBytes)
    rest.push({ start, end: Math.min(start + partBytes, totalBytes) });
  await inParallel(rest, partsAtOnce, async (range) => {
    await fetchPart(range);
  });
}

/** Moves the beginning of `left` along with what was written. */
function bodyInFile(draft: Draft, left: ByteRange, length: number): IncomingBody {
  const block = Buffer.allocUnsafeSlow(Math.min(blockBytes, length));
  let filled = 0;
  let missing = length;
  return {
    room: () => block.subarray(filled, Math.min(block.length, filled + missing)),
    took(count) {
      filled += count;
      missing -= count;
      if (filled === block.length || missing === 0) {
        draft.writeAt(block.subarray(0, filled), left.start);
        left.start += filled;
        filled = 0;
      }
      return missing === 0;
    },
    ended: () => false,
    bytes: () => Buffer.alloc(0),
  };
}
