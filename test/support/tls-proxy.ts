import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import {
  connect,
  constants,
  createSecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { join } from 'node:path';

export interface Certificates {
  ca: string;
  server: { cert: string; key: string };
  client: { cert: string; key: string };
  /** Signed by an authority that nobody trusts. */
  stranger: { cert: string; key: string };
}

/** Throwaway certificates in `folder`, by openssl; paths of PEM files. */
export function makeCertificates(folder: string): Certificates {
  const openssl = (...args: string[]): void =>
    void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const authority = (name: string): void => {
    openssl(
      'req',
      '-x509',
      ...newKey,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
    );
  };
  const issue = (name: string, by: string): { cert: string; key: string } => {
    const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
    openssl(
      'req',
      ...newKey,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
      '-addext',
      names,
    );
    const sign = ['-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-CAcreateserial', '-copy_extensions', 'copy'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...sign, '-out', `${name}.pem`, '-days', '2');
    return { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  };
  authority('ca');
  authority('other-ca');
  return {
    ca: join(folder, 'ca.pem'),
    server: issue('server', 'ca'),
    client: issue('client', 'ca'),
    stranger: issue('stranger', 'other-ca'),
  };
}

/** Headers that belong to one connection and are not passed on. */
const ownHeaders = new Set(['connection', 'host', 'te', 'transfer-encoding']);

/**
 * gRPC over TLS in front of a server that speaks none, as a cluster has it: asks for a client certificate, and for an
 * API key when it is given one.
 */
export class TlsProxy {
  readonly port: number;
  readonly close: () => Promise<void>;
  /** Calls let through. */
  passed = 0;

  private constructor(port: number, close: () => Promise<void>) {
    this.port = port;
    this.close = close;
  }

  static async open(upstreamPort: number, certificates: Certificates, apiKey?: string): Promise<TlsProxy> {
    const upstream = connect(`http://127.0.0.1:${upstreamPort}`);
    upstream.on('error', () => undefined);
    const server = createSecureServer({
      cert: readFileSync(certificates.server.cert),
      key: readFileSync(certificates.server.key),
      ca: readFileSync(certificates.ca),
      requestCert: true,
      rejectUnauthorized: true,
    });
    const sessions = new Set<{ destroy(): void }>();
    server.on('session', (session) => sessions.add(session));
    server.on('stream', (stream, headers) => {
      stream.on('error', () => undefined);
      if (apiKey !== undefined && headers['authorization'] !== `Bearer ${apiKey}`) {
        // UNAUTHENTICATED, as a response of trailers only.
        stream.respond(
          {
            ':status': 200,
            'content-type': 'application/grpc',
            'grpc-status': '16',
            'grpc-message': 'wrong key',
          },
          { endStream: true },
        );
        return;
      }
      proxy.passed++;
      forward(stream, headers, upstream);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const proxy = new TlsProxy(port, async () => {
      for (const session of sessions) session.destroy();
      upstream.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    return proxy;
  }
}

function forward(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  upstream: ReturnType<typeof connect>,
): void {
  const passed = Object.entries(headers).filter(([name]) => !ownHeaders.has(name));
  const request = upstream.request({ ...Object.fromEntries(passed), te: 'trailers' }, { endStream: false });
  request.on('response', (answer, flags) => {
    const hasEnded = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    if (stream.destroyed || stream.headersSent) return;
    stream.respond(answer, { endStream: hasEnded, waitForTrailers: !hasEnded });
    if (hasEnded) return;
    let trailers: IncomingHttpHeaders = {};
    request.on('trailers', (found: IncomingHttpHeaders) => {
      trailers = found;
    });
    stream.on('wantTrailers', () => {
      stream.sendTrailers(trailers);
    });
    request.pipe(stream);
  });
  request.on('error', () => {
    stream.close(constants.NGHTTP2_CANCEL);
  });
  stream.on('close', () => {
    request.close(constants.NGHTTP2_CANCEL);
  });
  stream.pipe(request);
}
