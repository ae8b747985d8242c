import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:tls';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bodyInMemory, type IncomingBody } from '../../store/s3/wire-answer.ts';
import { openWireConnection, type WireAnswer, type WireConnection } from '../../store/s3/wire-connection.ts';
import { makeCertificates } from '../support/tls-proxy.ts';

const patience = { connectMs: 2000, stallMs: 300 };
const land = (length: number): IncomingBody => bodyInMemory(Buffer.alloc(length));
const request = 'GET / HTTP/1.1\r\nhost: test\r\n\r\n';

/** A server that answers each request with the next of these lists of packets, and one that ends the connection. */
let server: Server;
let sockets: Socket[];
let answers: (string | Buffer)[][];
let connection: WireConnection;

async function serve(...lists: (string | Buffer)[][]): Promise<void> {
  answers = lists;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  connection = openWireConnection({ isTls: false, hostname: '127.0.0.1', port }, patience);
}
const ask = (): Promise<WireAnswer> => connection.ask(request, land);

beforeEach(() => {
  sockets = [];
  server = createServer((socket) => {
    sockets.push(socket.setNoDelay(true).on('error', () => undefined));
    socket.on('data', () => void answer(socket));
  });
});
afterEach(() => {
  connection.close();
  for (const socket of sockets) socket.destroy();
  server.close();
});

async function answer(socket: Socket): Promise<void> {
  for (const packet of answers.shift() ?? []) {
    if (packet === 'end') socket.end();
    else socket.write(packet);
    await new Promise((resolve) => setTimeout(resolve, 5)); // a packet of its own
  }
}

describe('an answer read from the wire', () => {
  it('lands whole however it is cut into packets, one answer after another', async () => {
    const body = Buffer.from(Array.from({ length: 300_000 }, (_, n) => n % 251));
    const whole = Buffer.concat([
      Buffer.from(`HTTP/1.1 206 Partial\r\nContent-Length: ${body.length}\r\n\r\n`),
      body,
    ]);
    const cuts = [1, 20, 60, 70, 100_000, whole.length];
    await serve(
      cuts.map((end, n) => whole.subarray(cuts[n - 1] ?? 0, end)),
      ['HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n'],
      [whole],
    );
    for (const wanted of [body, Buffer.alloc(0), body]) {
      const { body: got, hasLanded, headers } = await ask();
      expect([got.equals(wanted), hasLanded]).toEqual([true, true]);
      if (wanted.length === 0) expect(headers['x-a']).toBe('1, 2');
      expect(connection.isOpen()).toBe(true);
    }
    expect(sockets).toHaveLength(1);
  });

  it('that says what went wrong is understood in chunks, with a length, and up to the end', async () => {
    const said = 'HTTP/1.1 404 Not Found\r\n';
    await serve(
      [
        `${said}Transfer-Encoding: chunked\r\n\r\n`,
        '5;x=y\r\nabc',
        'de\r\n',
        'A\r\n0123456789\r\n0\r\n',
        'T: 1\r\n\r\n',
      ],
      [`${said}Content-Length: 4\r\n\r\nlost`],
      [`${said}\r\n`, 'and ', 'gone', 'end'],
    );
    const texts = [];
    for (let n = 0; n < 3; n++) {
      const { status, body, hasLanded } = await ask();
      texts.push([status, body.toString(), hasLanded]);
    }
    expect(texts).toEqual([
      [404, 'abcde0123456789', false],
      [404, 'lost', false],
      [404, 'and gone', false],
    ]);
    expect(connection.isOpen()).toBe(false);
  });

  it('after which the server closes is the last on its connection', async () => {
    await serve(['HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx']);
    expect((await ask()).body.toString()).toBe('x');
    expect(connection.isOpen()).toBe(false);
  });

  const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n';
  const broken: [string, (string | Buffer)[], object][] = [
    ['cut off in its body', [ok, '01234', 'end'], { code: 'ECUTOFF' }],
    ['cut off in its head', ['HTTP/1.1 200', 'end'], { code: 'ECUTOFF' }],
    ['that stalls', [ok, '01234'], { name: 'TimeoutError' }],
    ['that is longer than it says', [`${ok}0123456789ab`], { message: 'bytes beyond an answer' }],
    ['in another language', ['SSH-2.0-OpenSSH_9.2\r\n\r\n'], { message: 'an answer that is no HTTP/1.1' }],
    [
      'whose head never ends',
      [`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}`],
      { message: /no end of an answer's head/ },
    ],
    [
      'with more to say than anybody reads',
      ['HTTP/1.1 500 X\r\nContent-Length: 9000000\r\n\r\n', Buffer.alloc(3 << 20)],
      { message: /more than 1048576 bytes/ },
    ],
    [
      'whose chunks have no size',
      ['HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
      { message: 'a chunk without its size' },
    ],
  ];
  it.each(broken)('%s is an error, and nothing follows on its connection', async (_, packets, error) => {
    await serve(packets);
    const wanted = Object.fromEntries(
      Object.entries(error).map(([key, value]) => [
        key,
        value instanceof RegExp ? expect.stringMatching(value) : value,
      ]),
    );
    await expect(ask()).rejects.toMatchObject(wanted);
    expect(connection.isOpen()).toBe(false);
  });

  it('from nobody is given up in time', async () => {
    await serve();
    connection.close();
    connection = openWireConnection({ isTls: false, hostname: '127.0.0.1', port: 1 }, patience);
    await expect(ask()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('over TLS lands too, from a server whose certificate is trusted and from no other', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fretsaw-wire-'));
    const certificates = makeCertificates(folder);
    const body = Buffer.alloc(200_000, 'tls ');
    const { cert, key } = certificates.server;
    const secure = createTlsServer({ cert: readFileSync(cert), key: readFileSync(key) }, (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
        socket.write(body);
      });
    });
    await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
    const { port } = secure.address() as AddressInfo;
    const program = `
      const { openWireConnection } = await import('./store/s3/wire-connection.ts');
      const { bodyInMemory } = await import('./store/s3/wire-answer.ts');
      const connection = openWireConnection({ isTls: true, hostname: 'localhost', port: ${port} }, { connectMs: 5000, stallMs: 5000 });
      const land = (length) => bodyInMemory(Buffer.alloc(length));
      for (let n = 0; n < 2; n++) {
        const answer = await connection.ask('GET / HTTP/1.1\\r\\n\\r\\n', land).catch((error) => error.code);
        console.log(answer.hasLanded === true ? answer.body.equals(Buffer.alloc(200_000, 'tls ')) : answer);
        if (answer.hasLanded !== true) break;
      }
      connection.close();`;
    const run = (env: object): Promise<{ stdout: string }> =>
      promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
        env: { ...process.env, ...env },
      });
    try {
      expect((await run({ NODE_EXTRA_CA_CERTS: certificates.ca })).stdout).toBe('true\ntrue\n');
      expect((await run({ NODE_EXTRA_CA_CERTS: '' })).stdout).toMatch(
        /^(UNABLE_TO_VERIFY|SELF_SIGNED|DEPTH_ZERO)/,
      );
    } finally {
      secure.close();
      rmSync(folder, { recursive: true, force: true });
    }
    await serve();
  }, 30_000);
});
