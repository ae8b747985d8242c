import { connect, isIP, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { gatheredBody, parseHead, type AnswerHead, type IncomingBody } from './wire-answer.ts';

export interface Origin {
  isTls: boolean;
  hostname: string;
  port: number;
}

export interface WirePatience {
  connectMs: number;
  /** A connection on which nothing moves for this long is given up. */
  stallMs: number;
}

export interface WireAnswer extends AnswerHead {
  body: Buffer;
  /** Whether the body went where `land` said. */
  hasLanded: boolean;
}

/** One HTTP/1.1 connection for requests without a body, one at a time. */
export interface WireConnection {
  /** Sends a head. The body of a good answer goes where `land` says once its length is known. */
  ask(head: string, land: (length: number) => IncomingBody): Promise<WireAnswer>;
  /** Whether another request may follow. */
  isOpen(): boolean;
  /** While it waits for its next request a connection keeps no process alive. */
  rest(): void;
  close(): void;
}

const headLimitBytes = 64 << 10;

interface Exchange {
  land: (length: number) => IncomingBody;
  resolve: (answer: WireAnswer) => void;
  reject: (error: Error) => void;
  head?: AnswerHead;
  body?: IncomingBody;
  hasLanded: boolean;
}

/**
 * Reads bodies from the socket straight into the memory of whoever asked (`onread` of `net.connect`).
 * `node:http` makes a new buffer of 64 KiB for each read and has it copied, which costs three times the
 * CPU time of everything else in a download (docs/adr/0013-bodies-read-in-place.md).
 */
export function openWireConnection(origin: Origin, patience: WirePatience): WireConnection {
  const scratch = Buffer.allocUnsafeSlow(headLimitBytes);
  let filled = 0;
  let exchange: Exchange | undefined;
  let isOpen = true;

  const onread: OnReadOpts = {
    buffer: () => exchange?.body?.room() ?? scratch.subarray(filled),
    callback(count) {
      try {
        took(count);
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
      }
      return true;
    },
  };
  const socket = openSocket(origin, onread);
  const connecting = setTimeout(() => {
    fail(timeout(`no connection within ${patience.connectMs} ms`));
  }, patience.connectMs);
  socket.once(origin.isTls ? 'secureConnect' : 'connect', () => {
    clearTimeout(connecting);
    socket.setTimeout(patience.stallMs);
  });
  socket.on('timeout', () => {
    if (exchange !== undefined) fail(timeout(`nothing came for ${patience.stallMs} ms`));
  });
  socket.on('error', fail);
  socket.on('end', () => {
    if (exchange?.body?.ended() === true) finish(exchange);
    fail(cutOff('the connection ended before the answer'));
  });
  socket.on('close', () => {
    fail(cutOff('the connection was closed before the answer'));
  });

  function took(count: number): void {
    if (exchange === undefined) throw new Error('bytes that nobody asked for');
    if (exchange.body !== undefined) {
      if (exchange.body.took(count)) finish(exchange);
      return;
    }
    filled += count;
    const end = scratch.subarray(0, filled).indexOf('\r\n\r\n');
    if (end >= 0) begin(exchange, end);
    else if (filled === scratch.length) throw new Error(`no end of an answer's head in ${filled} bytes`);
  }

  /** The head is whole; what came with it is the beginning of the body. */
  function begin(current: Exchange, headEnd: number): void {
    const head = parseHead(scratch.toString('latin1', 0, headEnd));
    if (head === undefined) throw new Error('an answer that is no HTTP/1.1');
    const length = /^\d+$/.exec(head.headers['content-length'] ?? '')?.[0];
    current.head = head;
    current.hasLanded = head.status < 300 && length !== undefined;
    current.body = current.hasLanded ? current.land(Number(length)) : gatheredBody(head);
    let rest = scratch.subarray(headEnd + 4, filled);
    let isWhole = current.body.took(0);
    while (rest.length > 0) {
      const copied = rest.copy(current.body.room());
      if (copied === 0) throw new Error('bytes beyond an answer');
      isWhole = current.body.took(copied);
      rest = rest.subarray(copied);
    }
    if (isWhole) finish(current);
  }

  function finish({ head, body, hasLanded, resolve }: Exchange): void {
    exchange = undefined;
    filled = 0;
    if (head === undefined || body === undefined) return;
    if (head.headers['connection']?.toLowerCase() === 'close') close();
    resolve({ ...head, body: body.bytes(), hasLanded });
  }

  function fail(error: Error): void {
    const failed = exchange;
    exchange = undefined;
    close();
    failed?.reject(error);
  }

  function close(): void {
    isOpen = false;
    clearTimeout(connecting);
    socket.destroy();
  }

  return {
    ask: (head, land) =>
      new Promise((resolve, reject) => {
        socket.ref();
        exchange = { land, resolve, reject, hasLanded: false };
        socket.write(head, 'latin1');
      }),
    isOpen: () => isOpen && exchange === undefined,
    rest() {
      socket.unref();
    },
    close,
  };
}

function openSocket({ isTls, hostname, port }: Origin, onread: OnReadOpts): Socket {
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  const socket = isTls
    ? connectTls({ host, port, ALPNProtocols: ['http/1.1'], ...serverName(host), onread } as object)
    : connect({ host, port, onread });
  return socket.setNoDelay(true);
}

function serverName(host: string): { servername?: string } {
  return isIP(host) === 0 ? { servername: host } : {};
}

function timeout(message: string): Error {
  return Object.assign(new Error(message), { name: 'TimeoutError', code: 'ETIMEDOUT' });
}

function cutOff(message: string): Error {
  return Object.assign(new Error(message), { code: 'ECUTOFF' });
}
