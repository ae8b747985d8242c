import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TopWatch, type TopSnapshot } from '../../cli/top-snapshot.ts';
import { findServer } from '../../workers/embedded-server.ts';
import { homePathsAt, openHomeStore } from '../../workers/home.ts';
import { programPaths } from '../../workers/worker-settings.ts';
import { root } from '../support/built.ts';
import { CliRig } from '../support/cli-rig.ts';
import { smallTraining } from '../support/small-training.ts';

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 240_000);
afterEach(async () => {
  await rig.close();
});

const spec = `fretsaw: v1
name: watched
stages:
${smallTraining({ steps: 100000, batchSize: 2, snapshotEvery: 1000, evaluateEvery: 100000 })}  asked: { kind: command, approve: "really?", with: { argv: [sh, -c, 'echo > "$1"/x', sh, "{out}"], outputs: { out: out } } }
  far: { kind: command, pool: big, with: { argv: [sh, -c, 'echo > "$1"/x', sh, "{out}"], outputs: { out: out } } }
`;

interface Snapshot {
  runs: { spec: string; state: string; stages: number; ended: number }[];
  stages: { stage: string; state: string; step: number | null; loss: number | null; since: string | null }[];
  pools: { pool: string; workers: number; running: number; queued: number; since: string | null }[];
}

async function look(): Promise<Snapshot> {
  return JSON.parse((await rig.run(['top', '--json'])).out) as Snapshot;
}

/** As a host sees it that has none of the job's files: by what the supervisor tells Temporal. */
async function lookFromAfar(): Promise<TopSnapshot> {
  const port = findServer(join(rig.home, 'temporal'))?.port ?? 0;
  const connection = await Connection.connect({ address: `127.0.0.1:${port}` });
  const sources = {
    store: openHomeStore(homePathsAt(rig.home)),
    work: join(rig.folder, 'elsewhere'),
    queueOf: (pool: string): string => pool,
  };
  try {
    return await new TopWatch(sources).look(new Client({ connection }));
  } finally {
    await connection.close();
  }
}

/** The command on a terminal of its own, as Python's pty module gives it; Ctrl-C is typed after a second look. */
async function onTerminal(): Promise<{ code: number | null; screen: string }> {
  const script = `import os, pty, sys
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
looks = 0
while True:
    try: data = os.read(fd, 65536)
    except OSError: break
    if not data: break
    os.write(1, data)
    before, looks = looks, looks + data.count(b'\\x1b[2J')
    if before < 2 <= looks: os.write(fd, b'\\x03')
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;
  const argv = [process.execPath, join(root, 'dist', 'fretsaw.js'), 'top', '--every', '0.5'];
  const child = spawn(programPaths.python(root), ['-c', script, ...argv], {
    cwd: rig.folder,
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', TERM: 'xterm' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let screen = '';
  child.stdout.on('data', (chunk: Buffer) => (screen += chunk.toString()));
  return await new Promise((resolve) =>
    child.once('close', (code) => {
      resolve({ code, screen });
    }),
  );
}

describe('top', { timeout: 300_000 }, () => {
  test('shows what trains with its step and loss, what waits for its pool since when, and what waits for people', async () => {
    rig.write('a.yaml', spec);
    expect(await look()).toMatchObject({ runs: [], stages: [], pools: [] });
    const run = rig.start(['run', 'a.yaml', '--wait-for-pools']);
    await rig.until(() => rig.step() > 0, 120);
    let seen = await look();
    const of = (name: string): Snapshot['stages'][number] | undefined =>
      seen.stages.find(({ stage }) => stage === name);
    await rig.until(async () => {
      seen = await look();
      return of('train')?.loss !== null && seen.stages.length === 3;
    });
    expect(seen.runs).toMatchObject([{ spec: 'watched', state: 'approval', stages: 3, ended: 0 }]);
    expect(of('train')).toMatchObject({ state: 'running', total: 100_000, unit: 'steps', attempt: 1 });
    expect(of('train')?.step).toBeGreaterThan(0);
    expect(of('train')?.loss).toBeGreaterThan(0);
    expect(of('asked')).toMatchObject({ state: 'approval' });
    expect(of('far')).toMatchObject({ state: 'queued' });
    const pools = Object.fromEntries(seen.pools.map((pool) => [pool.pool, pool]));
    expect(pools['big']).toMatchObject({ workers: 0, running: 0, queued: 1, since: of('far')?.since });
    expect(pools['default']).toMatchObject({ workers: 1, running: 1, queued: 0 });

    const { out } = await rig.run(['top']);
    expect(out).not.toContain('\u001b');
    expect(out).toMatch(/^\w{4} +far +waits for pool big .* \d\d:\d\d:\d\dZ \(\d+s\)$/m);
    expect(out).toMatch(
      /^\w{4} +train +running +\d+\/100000 steps +[\d.]+\/s +\d\.\d+ +\d+[hm] \d+[ms] +1 +default/m,
    );
    expect((await rig.run(['status'])).out).toMatch(/waits for pool big since .* \(nobody serves it\)/);

    const train = (await lookFromAfar()).stages.find(({ stage }) => stage === 'train');
    expect(train?.step).toBeGreaterThan(0);
    expect(train?.loss).toBeGreaterThan(0);

    const { code, screen } = await onTerminal();
    expect(code).toBe(0);
    expect(screen.split('\u001b[2J').length).toBeGreaterThan(2);
    expect(screen).toMatch(/train +running/);
    expect(screen.trimEnd().endsWith('\u001b[?1049l')).toBe(true);

    run.child.kill('SIGINT');
    expect((await run.ended).code).toBe(130);
  });
});
