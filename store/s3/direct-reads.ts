import type { S3Client } from '@aws-sdk/client-s3';
import { Readable } from 'node:stream';
import type { IncomingBody } from './wire-answer.ts';
import {
  openWireConnection,
  type Origin,
  type WireConnection,
  type WirePatience,
} from './wire-connection.ts';

type Handler = S3Client['config']['requestHandler'];
type Answer = Awaited<ReturnType<Handler['handle']>>;

/** What the SDK hands to whoever carries its requests: signed, and of the fields that matter here. */
interface SdkRequest {
  method: string;
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query: Record<string, string | string[] | null>;
  headers: Record<string, string>;
}

/** What a command is sent with so that the body of its answer lands where it is wanted. */
export interface Landing {
  /** Where a body of this length goes. A request that is tried again asks again. */
  land: (length: number) => IncomingBody;
  /** What was filled; undefined when the answer came the usual way. */
  bytes?: Buffer;
}

/** So long a connection may have waited for another request: servers close idle ones. */
const restLimitMs = 10_000;

interface Resting {
  connection: WireConnection;
  sinceMs: number;
}

export interface DirectReads {
  /** `usual`, except that requests with a Landing are read into its memory. */
  over(usual: Handler): Handler;
}

/** At most `limit` connections at once, which are used again. */
export function createDirectReads(limit: number, patience: WirePatience): DirectReads {
  const resting = new Map<string, Resting[]>();
  const waiting: (() => void)[] = [];
  let used = 0;

  async function take(origin: Origin): Promise<WireConnection> {
    if (used >= limit)
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
      });
    else used++;
    const known = resting.get(nameOf(origin)) ?? [];
    for (let last = known.pop(); last !== undefined; last = known.pop()) {
      if (last.connection.isOpen() && Date.now() - last.sinceMs < restLimitMs) return last.connection;
      last.connection.close();
    }
    return openWireConnection(origin, patience);
  }

  function giveBack(origin: Origin, connection: WireConnection): void {
    if (connection.isOpen()) {
      connection.rest();
      const known = resting.get(nameOf(origin)) ?? [];
      known.push({ connection, sinceMs: Date.now() });
      resting.set(nameOf(origin), known);
    }
    const next = waiting.shift();
    if (next === undefined) used--;
    else next();
  }

  async function read(request: SdkRequest, landing: Landing): Promise<Answer> {
    const origin = originOf(request);
    const connection = await take(origin);
    try {
      const { status, headers, body, hasLanded } = await connection.ask(headOf(request), landing.land);
      if (hasLanded) landing.bytes = body;
      const said = Readable.from(hasLanded ? [] : [body]);
      return { response: { statusCode: status, headers, body: said } } as Answer;
    } finally {
      giveBack(origin, connection);
    }
  }

  return {
    over: (usual) => {
      const handle: Handler['handle'] = (asked, options) => {
        const request = asked as SdkRequest;
        const { landing } = { ...options } as { landing?: Landing };
        if (landing === undefined || request.method !== 'GET') return usual.handle(asked, options);
        return read(request, landing);
      };
      return Object.assign(Object.create(usual) as Handler, { handle });
    },
  };
}

function originOf({ protocol, hostname, port }: SdkRequest): Origin {
  const isTls = protocol !== 'http:';
  return { isTls, hostname, port: port ?? (isTls ? 443 : 80) };
}

function nameOf({ isTls, hostname, port }: Origin): string {
  return `${isTls} ${hostname} ${port}`;
}

/** The head of a request as it was signed. */
function headOf({ method, path, query, headers }: SdkRequest): string {
  const words = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) =>
      one === null ? escaped(name) : `${escaped(name)}=${escaped(one)}`,
    ),
  );
  const target = words.length === 0 ? path : `${path}?${words.join('&')}`;
  const lines = [`${method} ${target} HTTP/1.1`, ...Object.entries(headers).map((pair) => pair.join(': '))];
  if (lines.some((line) => /[\r\n]/.test(line))) throw new Error('a header with a line break');
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function escaped(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
