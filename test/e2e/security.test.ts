import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { publicKeyOf } from '../../lineage/plan-approval.ts';
import { findServer, startServer, stopServer } from '../../workers/embedded-server.ts';
import { programPaths } from '../../workers/worker-settings.ts';
import { root } from '../support/built.ts';
import { CliRig, type Running } from '../support/cli-rig.ts';
import { filesWith } from '../support/files-with.ts';
import { freePort } from '../support/free-port.ts';
import { makeCertificates, TlsProxy, type Certificates } from '../support/tls-proxy.ts';

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 240_000);
afterEach(async () => {
  await rig.close();
});

const one = (script: string, more = ''): string => `fretsaw: v1
name: test
stages:
  one: { kind: command, ${more}with: { argv: [sh, -c, '${script}', "{out}"], env: { TOKEN: { secret: PLANTED } }, outputs: { out: out } } }
`;

/** Starts a pool's worker; resolves when it serves. */
async function serve(pool: string, env: Readonly<Record<string, string>> = {}): Promise<Running> {
  rig.write('big.yaml', `fretsaw: pool/v1\nname: big\n${pool}`);
  const worker = rig.start(['worker', '--pool', './big.yaml'], env);
  let told = '';
  worker.child.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  await rig.until(() => told.includes('serving queue big') || worker.child.exitCode !== null, 120);
  return worker;
}

/** Every history that a server has, as the bytes it keeps. */
async function histories(port: number): Promise<string> {
  const connection = await Connection.connect({ address: `127.0.0.1:${port}` });
  try {
    const namespace = 'default';
    const { executions } = await connection.workflowService.listWorkflowExecutions({ namespace });
    let text = textOf(executions);
    for (const { execution } of executions) {
      const { history } = await connection.workflowService.getWorkflowExecutionHistory({
        namespace,
        execution: execution ?? null,
      });
      text += textOf(history);
    }
    return text;
  } finally {
    await connection.close();
  }
}

/** Every text in a message of Temporal's; bytes are base64 in its JSON, so each is read that way too. */
function textOf(message: unknown): string {
  const texts: string[] = [];
  JSON.stringify(message, (_, value: unknown) => {
    if (typeof value === 'string') texts.push(value, Buffer.from(value, 'base64').toString('utf8'));
    return value;
  });
  return texts.join('\n');
}

/** What a webhook is told, by a receiver on this host. */
async function listen(): Promise<{ url: string; heard: string[]; close: () => void }> {
  const heard: string[] = [];
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      heard.push(JSON.stringify(request.headers) + Buffer.concat(pieces).toString());
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, heard, close: () => void server.close() };
}

describe('secrets', { timeout: 240_000 }, () => {
  const planted = 'hf_PLANTED-9d1c77';

  test('are in the job alone: not in the store, the histories, the logs or what is said', async () => {
    // The program prints its token twice, once on the last line of a failure, where it becomes a message.
    rig.write(
      'a.yaml',
      one('echo "$TOKEN"; echo "$${#TOKEN}" > "$0"/x; echo only-in-the-log; echo "with $TOKEN" >&2; exit 3'),
    );
    rig.write('b.yaml', one('echo "again $TOKEN"; echo "$${#TOKEN}" > "$0"/x'));
    const env = { PLANTED: planted };
    const failed = await rig.run(['run', 'a.yaml'], env);
    expect(failed.err + failed.out).toContain('exit code 3: with *****************');
    const run = rig.start(['run', 'b.yaml', '--json'], env);
    const { out } = await run.ended;
    expect(JSON.parse(out)).toMatchObject({ state: 'done' });
    const artifact = await rig.run(['artifact', 'cat', 'one.out', 'x']);
    expect(artifact.out.trim()).toBe(String(planted.length));
    const shown = await rig.run(['show', 'last']);
    const logs = await rig.run(['logs', 'last', 'one']);
    expect(logs.out).toContain('again *****');
    for (const text of [failed.out, failed.err, out, shown.out, logs.out])
      expect(text).not.toContain(planted);
    expect(filesWith(rig.home, planted)).toEqual([]);
    const server = await startServer(join(rig.home, 'temporal'), programPaths.temporal(root));
    const kept = await histories(server.port);
    await stopServer(join(rig.home, 'temporal'));
    expect(kept).toContain('PLANTED');
    expect(kept).not.toContain('only-in-the-log');
    expect(kept).not.toContain(planted);
  });

  test("a worker's own are in nothing that it keeps, asks, tells or measures, nor is a job's in what people ask of a run", async () => {
    const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const webhookKey = Buffer.alloc(32, 5).toString('base64');
    const secrets = [planted, webhookKey, pem.split('\n')[1] ?? '', 'aws-PLANTED-5a1e'];
    const receiver = await listen();
    const port = await freePort();
    const env = {
      PLANTED: planted,
      FRETSAW_WEBHOOK_URL: receiver.url,
      FRETSAW_WEBHOOK_SECRET: `whsec_${webhookKey}`,
      FRETSAW_SIGNING_KEY: pem,
      FRETSAW_BRANCH: 'main',
      AWS_SECRET_ACCESS_KEY: 'aws-PLANTED-5a1e',
      FRETSAW_METRICS: `127.0.0.1:${port}`,
    };
    const wait = `while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done`;
    rig.write(
      'a.yaml',
      one(`echo "$TOKEN $AWS_SECRET_ACCESS_KEY $FRETSAW_SIGNING_KEY"; ${wait}; echo > "$0"/x`),
    );
    rig.write('b.yaml', one('echo "with $TOKEN" >&2; exit 3'));
    const run = rig.start(['run', 'a.yaml', '--json'], env);
    await rig.until(() => rig.jobs().length === 1, 120);
    const said: string[] = [];
    const ask = async (...args: string[]): Promise<void> => {
      const { out, err } = await rig.run(args, env);
      said.push(`${args.join(' ')}: ${out}${err}`);
    };
    await ask('top', '--json');
    said.push(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text());
    rig.write('go', '');
    said.push((await run.ended).out);
    await ask('run', 'b.yaml', '--json');
    for (const args of [
      'plan a.yaml',
      'plan b.yaml --json',
      'explain a.yaml one',
      'status --json',
      'doctor --json',
    ])
      await ask(...args.split(' '));
    for (const args of ['lineage one.out --json', 'show last --json', 'logs last one', 'fork last c.yaml'])
      await ask(...args.split(' '));
    await rig.until(() => receiver.heard.length >= 3);
    receiver.close();
    expect(said.join('')).toContain('fretsaw_cache_misses_total');
    expect(receiver.heard.join('')).toContain('exit code 3: with *****************');
    const server = await startServer(join(rig.home, 'temporal'), programPaths.temporal(root));
    const kept = await histories(server.port);
    await stopServer(join(rig.home, 'temporal'));
    for (const secret of secrets) {
      expect(secret.length).toBeGreaterThan(15);
      expect(said.filter((text) => text.includes(secret))).toEqual([]);
      expect(receiver.heard.filter((text) => text.includes(secret))).toEqual([]);
      expect(kept).not.toContain(secret);
      expect(filesWith(rig.folder, secret)).toEqual([]);
    }
  });
});

describe('a pool with an allow-list', { timeout: 240_000 }, () => {
  test('runs signed plans of its branches, and no others; all can be planned', async () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const stranger = generateKeyPairSync('ed25519')
      .privateKey.export({ type: 'pkcs8', format: 'pem' })
      .toString();
    const key = publicKeyOf(pem);
    const worker = await serve(`allow: [{ name: ci, key: "${key}", branches: [main, "release/*"] }]\n`, {
      PLANTED: 'x',
    });
    rig.write('a.yaml', one('echo made > "$0"/x', 'pool: big, '));
    expect((await rig.run(['plan', 'a.yaml'])).code).toBe(0);
    const refusal = async (env: Record<string, string>): Promise<string> => {
      const { code, out } = await rig.run(['run', 'a.yaml', '--json'], env);
      expect(code).toBe(1);
      const { stages } = JSON.parse(out) as { stages: { one: { code: string; message: string } } };
      expect(stages.one.code).toBe('NOT_ALLOWED');
      return stages.one.message;
    };
    expect(await refusal({})).toContain('is not signed; this pool runs plans of ci');
    expect(await refusal({ FRETSAW_SIGNING_KEY: stranger, FRETSAW_BRANCH: 'main' })).toContain(
      'is not signed by ci',
    );
    expect(await refusal({ FRETSAW_SIGNING_KEY: pem, FRETSAW_BRANCH: 'release/1/evil' })).toContain(
      'is of branch release/1/evil',
    );
    const allowed = await rig.run(['run', 'a.yaml'], {
      FRETSAW_SIGNING_KEY: pem,
      FRETSAW_BRANCH: 'release/1',
    });
    expect(allowed.code).toBe(0);
    worker.child.kill('SIGTERM');
    await worker.ended;
  });
});

const isRoot = process.getuid?.() === 0;

describe.skipIf(!isRoot)(`jobs of another user${isRoot ? '' : ': needs root'}`, { timeout: 240_000 }, () => {
  test("run as that user, with its home, and cannot read the worker's secrets", async () => {
    chmodSync(rig.folder, 0o755);
    writeFileSync(
      join(rig.folder, 'credentials'),
      'PLANTED=from the file\nAWS_SECRET_ACCESS_KEY=worker-only\n',
      { mode: 0o600 },
    );
    const script =
      'id -un > "$0"/x; echo "$HOME $TOKEN $AWS_SECRET_ACCESS_KEY" >> "$0"/x; cat ../../../../../../credentials >> "$0"/x || true';
    rig.write('a.yaml', one(script, 'pool: big, '));
    const worker = await serve(`jobs: { user: nobody }\ncredentials: ${join(rig.folder, 'credentials')}\n`);
    const { code, err } = await rig.run(['run', 'a.yaml']);
    expect(code, err).toBe(0);
    expect((await rig.run(['artifact', 'cat', 'one.out', 'x'])).out).toBe(
      'nobody\n/nonexistent from the file \n',
    );
    worker.child.kill('SIGTERM');
    await worker.ended;
    chmodSync(join(rig.folder, 'credentials'), 0o644);
    const open = await serve(`credentials: ${join(rig.folder, 'credentials')}\n`);
    expect((await open.ended).err).toContain('others may read it');
  });
});

describe('a cluster behind TLS', { timeout: 300_000 }, () => {
  let certificates: Certificates;
  let server: string;
  beforeEach(async () => {
    certificates = makeCertificates(rig.folder);
    server = join(rig.folder, 'cluster');
    await startServer(server, programPaths.temporal(root));
  }, 120_000);
  afterEach(async () => {
    await stopServer(server);
  });

  const environment = (proxy: TlsProxy, who: { cert: string; key: string }): Record<string, string> => ({
    TEMPORAL_ADDRESS: `localhost:${proxy.port}`,
    TEMPORAL_TLS: 'true',
    TEMPORAL_TLS_SERVER_CA_CERT_PATH: certificates.ca,
    TEMPORAL_TLS_CLIENT_CERT_PATH: who.cert,
    TEMPORAL_TLS_CLIENT_KEY_PATH: who.key,
  });

  test('is reached with a client certificate and an API key, and payloads are sealed', async () => {
    const port = findServer(server)?.port ?? 0;
    const proxy = await TlsProxy.open(port, certificates, 'the-key');
    const key = Buffer.alloc(32, 7).toString('base64');
    const env = {
      ...environment(proxy, certificates.client),
      TEMPORAL_API_KEY: 'the-key',
      FRETSAW_PAYLOAD_KEYS: `k1:${key}`,
      PLANTED: 'x',
    };
    rig.write('a.yaml', one('echo made > "$0"/x', 'pool: big, '));
    const worker = await serve('', env);
    const { code, err } = await rig.run(['run', 'a.yaml'], env);
    expect(code, err).toBe(0);
    worker.child.kill('SIGTERM');
    await worker.ended;
    const kept = await histories(port);
    expect(kept).toContain('binary/encrypted');
    // The key document's digest is in every stage's request, the spec's name in every run's.
    expect(kept).not.toContain('"planDigest"');
    expect(kept).not.toContain('"leaseSeconds"');
    expect(filesWith(rig.home, key)).toEqual([]);
    const passed = proxy.passed;
    expect(passed).toBeGreaterThan(20);

    const wrong = await rig.run(['run', 'a.yaml', '--recompute', 'one', '--reason', 'again'], {
      ...env,
      TEMPORAL_API_KEY: 'guessed',
    });
    expect([wrong.code, proxy.passed]).toEqual([4, passed]);
    const stranger = { ...env, ...environment(proxy, certificates.stranger) };
    const refused = await rig.run(['run', 'a.yaml', '--recompute', 'one', '--reason', 'again'], stranger);
    expect([refused.code, proxy.passed]).toEqual([4, passed]);
    expect(refused.err).toContain('Temporal does not answer');
    await proxy.close();
    expect(existsSync(join(rig.home, 'temporal'))).toBe(false);
  });
});
