/** What begins an HTTP/1.1 answer (RFC 9112). Names of headers are in lower case. */
export interface AnswerHead {
  status: number;
  headers: Record<string, string>;
}

/** Where an answer's body goes while it comes. */
export interface IncomingBody {
  /** Memory that the next bytes are read into. */
  room(): Buffer;
  /** So many bytes were read into it; true when the body is whole. Throws for bytes beyond its end. */
  took(count: number): boolean;
  /** The connection has ended; true when that ends the body too. */
  ended(): boolean;
  /** What of it is in memory when it is whole. */
  bytes(): Buffer;
}

/** Answers other than the object itself say what went wrong: no more of them is kept. */
const saidLimitBytes = 1 << 20;
const saidStepBytes = 16 << 10;

/** Undefined when these are no head of an answer. */
export function parseHead(text: string): AnswerHead | undefined {
  const [first = '', ...lines] = text.split('\r\n');
  const status = /^HTTP\/1\.1 ([2-5]\d\d)(?: |$)/.exec(first)?.[1];
  if (status === undefined) return undefined;
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const at = line.indexOf(':');
    if (at <= 0) return undefined;
    const name = line.slice(0, at).toLowerCase();
    const value = line.slice(at + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  return { status: Number(status), headers };
}

/** A body that is to be of `target`'s length, read to where it belongs. */
export function bodyInMemory(target: Buffer): IncomingBody {
  let length = 0;
  return {
    room: () => target.subarray(length),
    took(count) {
      length += count;
      return length === target.length;
    },
    ended: () => false,
    bytes: () => target,
  };
}

/** A short body of whatever framing the head announces. */
export function gatheredBody({ headers }: AnswerHead): IncomingBody {
  const announced = headers['content-length'];
  const isChunked = headers['transfer-encoding']?.toLowerCase() === 'chunked';
  let held = Buffer.allocUnsafe(saidStepBytes);
  let length = 0;
  const soFar = (): Buffer => held.subarray(0, length);
  return {
    room() {
      if (length === held.length) held = Buffer.concat([held, Buffer.allocUnsafe(held.length)]);
      return held.subarray(length);
    },
    took(count) {
      length += count;
      if (length > saidLimitBytes) throw new Error(`more than ${saidLimitBytes} bytes of an answer`);
      if (isChunked) return joinChunks(soFar()) !== undefined;
      if (announced !== undefined && length > Number(announced)) throw new Error('bytes beyond an answer');
      return length === Number(announced);
    },
    ended: () => !isChunked && announced === undefined,
    bytes: () => (isChunked ? joinChunks(soFar()) : undefined) ?? soFar(),
  };
}

/** The body in these chunks (RFC 9112, section 7.1); undefined while the last one has not come. */
function joinChunks(bytes: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = /^[0-9a-f]{1,8}/i.exec(bytes.toString('latin1', at, lineEnd))?.[0];
    if (size === undefined) throw new Error('a chunk without its size');
    const begin = lineEnd + 2;
    const end = begin + parseInt(size, 16);
    if (end === begin) return trailersEnd(bytes, begin) ? Buffer.concat(parts) : undefined;
    if (end + 2 > bytes.length) return undefined;
    parts.push(bytes.subarray(begin, end));
    at = end + 2;
  }
}

function trailersEnd(bytes: Buffer, at: number): boolean {
  return bytes.indexOf('\r\n', at) === at || bytes.indexOf('\r\n\r\n', at) >= 0;
}
