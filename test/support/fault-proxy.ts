import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import {
  createServer as createHttp,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';

/** What happens to one request instead of its being passed on, or to its answer on the way back. */
export type Fault =
  | { kind: 'answer'; status: number; code: string; headers?: Record<string, string> }
  /** The connection is torn down before the service sees the request. */
  | { kind: 'reset' }
  /** The service does the work and its answer is lost. */
  | { kind: 'lost-answer' }
  /** Half of the answer's body comes, then nothing. */
  | { kind: 'stall' }
  /** Half of the answer's body comes, then the end. */
  | { kind: 'cut-off' };

export interface Seen {
  method: string;
  path: string;
}

/**
 * Stands before a real service on this host and breaks chosen requests. What it passes on it does not
 * touch, so signatures hold: the client names the proxy as its endpoint, and so does the Host header.
 */
export interface FaultProxy {
  endpoint: string;
  /** Every request, in order. */
  seen: Seen[];
  /** The ranges that were asked for. */
  rangesSeen: string[];
  /** Asked for each request; undefined passes it on. */
  decide: (seen: Seen) => Fault | undefined;
  close(): Promise<void>;
}

export async function openFaultProxy(target: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const proxy: FaultProxy = {
    endpoint: '',
    seen: [],
    rangesSeen: [],
    decide: () => undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        for (const socket of sockets) socket.destroy();
      }),
  };
  const server: Server = createHttp((incoming, outgoing) => {
    const seen = { method: incoming.method ?? '', path: incoming.url ?? '' };
    proxy.seen.push(seen);
    if (incoming.headers.range !== undefined) proxy.rangesSeen.push(incoming.headers.range);
    const fault = proxy.decide(seen);
    if (fault?.kind === 'answer') answer(outgoing, incoming, fault);
    else if (fault?.kind === 'reset') incoming.socket.resetAndDestroy();
    else pass({ incoming, outgoing, fault, hostname, port: Number(port) });
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  proxy.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return proxy;
}

function answer(
  outgoing: ServerResponse,
  incoming: IncomingMessage,
  { status, code, headers = {} }: Extract<Fault, { kind: 'answer' }>,
): void {
  incoming.resume();
  incoming.on('end', () => {
    outgoing.writeHead(status, { 'content-type': 'application/xml', ...headers });
    const isHead = incoming.method === 'HEAD';
    outgoing.end(
      isHead
        ? undefined
        : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>made up</Message></Error>`,
    );
  });
}

interface Passing {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
  fault: Exclude<Fault, { kind: 'answer' | 'reset' }> | undefined;
  hostname: string;
  port: number;
}

function pass({ incoming, outgoing, fault, hostname, port }: Passing): void {
  const { method, url: path, headers } = incoming;
  const onward = httpRequest({ hostname, port, method, path, headers, agent: false }, (back) => {
    if (fault?.kind === 'lost-answer') {
      back.resume();
      back.on('end', () => incoming.socket.resetAndDestroy());
      return;
    }
    outgoing.writeHead(back.statusCode ?? 502, back.headers);
    if (fault === undefined) back.pipe(outgoing);
    else sendHalf(back, outgoing, fault.kind);
  });
  onward.on('error', () => incoming.socket.destroy());
  incoming.pipe(onward);
}

function sendHalf(back: IncomingMessage, outgoing: ServerResponse, kind: 'stall' | 'cut-off'): void {
  const chunks: Buffer[] = [];
  back.on('data', (chunk: Buffer) => chunks.push(chunk));
  back.on('end', () => {
    const all = Buffer.concat(chunks);
    outgoing.write(all.subarray(0, Math.floor(all.length / 2)), () => {
      if (kind === 'cut-off') outgoing.destroy();
    });
  });
}

/** A port that takes connections and never says a word. */
export async function openSilentPort(): Promise<{ endpoint: string; close: () => void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
