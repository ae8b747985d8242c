import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listRuns } from '../../cli/find-run.ts';
import { listedRuns } from '../../cli/list-runs.ts';
import { liveRuns } from '../../cli/live-states.ts';
import type { RunFilter } from '../../cli/run-filter.ts';
import { findServer, startServer, stopServer } from '../../workers/embedded-server.ts';
import { homePathsAt, openHomeStore } from '../../workers/home.ts';
import { programPaths } from '../../workers/worker-settings.ts';
import { BareServer } from '../support/bare-server.ts';
import { root } from '../support/built.ts';
import { CliRig } from '../support/cli-rig.ts';

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 240_000);
afterEach(async () => {
  await rig.close();
});

function spec(name: string, script: string, more = ''): string {
  return `fretsaw: v1\nname: ${name}\nstages:\n  only: { kind: command, ${more}with: { argv: [sh, -c, '${script}', sh, "{out}"], outputs: { out: out } } }\n`;
}

interface Line {
  run: string;
  spec: string;
  state: string;
  owner: string;
  commit: string | null;
  stages: Record<string, number>;
}

interface Page {
  runs: Line[];
  next: string | null;
}

async function status(args: string[], env: Record<string, string>): Promise<Page> {
  const { out } = await rig.run(['status', '--json', ...args], env);
  return JSON.parse(out) as Page;
}

/** What is listed, newest first. */
async function specsOf(filter: RunFilter, env: Record<string, string>): Promise<string[]> {
  const paths = homePathsAt(rig.home);
  const live = await liveRuns({ env }, paths);
  const specs: string[] = [];
  const listing = { store: openHomeStore(paths), live, filter, before: undefined };
  for await (const line of listedRuns(listing)) specs.push(line.spec);
  await live.close();
  return specs;
}

/** How many of the two runs that it knows the server finds; it is asked about one of them first. */
async function matching(filter: RunFilter, env: Record<string, string>): Promise<number | undefined> {
  const paths = homePathsAt(rig.home);
  const live = await liveRuns({ env }, paths);
  const [newest = '', oldest = ''] = await listRuns(openHomeStore(paths));
  const half = await live.index(filter, { oldest, newest: oldest });
  expect(half?.known).toEqual(new Set([oldest]));
  const index = await live.index(filter, { oldest, newest });
  await live.close();
  expect(index?.known).toEqual(new Set([oldest, newest]));
  return index?.matching.size;
}

/** What the server itself finds by a query. */
async function found(port: number, query: string): Promise<string[]> {
  const connection = await Connection.connect({ address: `127.0.0.1:${port}` });
  try {
    const ids: string[] = [];
    for await (const { workflowId } of new Client({ connection }).workflow.list({ query }))
      ids.push(workflowId);
    return ids;
  } finally {
    await connection.close();
  }
}

function git(...args: string[]): string {
  const identity = ['-c', 'user.name=a', '-c', 'user.email=a@example.com'];
  return execFileSync('git', [...identity, ...args], { cwd: rig.folder, encoding: 'utf8' }).trim();
}

describe('status', { timeout: 300_000 }, () => {
  test('finds runs by what the cluster knows of them, while they wait for people and after', async () => {
    const folder = join(rig.folder, 'cluster');
    const { port } = await startServer(folder, programPaths.temporal(root));
    const env = { TEMPORAL_ADDRESS: `127.0.0.1:${port}`, FRETSAW_OWNER: 'ada' };
    try {
      rig.write('.gitignore', '*\n!*.yaml\n');
      rig.write('bad.yaml', spec('bad', 'exit 3'));
      rig.write('asks.yaml', spec('asks', 'echo > "$1"/x', 'approve: "really?", '));
      git('init', '--quiet');
      git('add', '.');
      git('commit', '--quiet', '-m', 'specs');
      const commit = git('rev-parse', 'HEAD');
      expect((await rig.run(['run', 'bad.yaml'], { ...env, FRETSAW_OWNER: 'bob' })).code).toBe(1);
      const run = rig.start(['run', 'asks.yaml', '--json'], env);
      await rig.until(async () => (await found(port, "FretsawState = 'approval'")).length === 1);
      const [asking] = (await status(['--state', 'approval'], env)).runs;
      expect(asking).toMatchObject({ spec: 'asks', owner: 'ada', commit, stages: { approval: 1 } });
      const byWhat: [RunFilter, string[]][] = [
        [{ spec: 'bad' }, ['bad']],
        [{ owner: 'ada' }, ['asks']],
        [{ state: 'failed' }, ['bad']],
        [{ commit: commit.slice(0, 8) }, ['asks', 'bad']],
        [{ commit: 'f'.repeat(40) }, []],
        [{ kind: 'command' }, ['asks', 'bad']],
        [{ kind: 'distill' }, []],
        [{ pool: 'default', spec: 'asks' }, ['asks']],
        [{ pool: 'h100x8' }, []],
      ];
      for (const [filter, specs] of byWhat) {
        const text = JSON.stringify(filter);
        expect(await specsOf(filter, env), text).toEqual(specs);
        expect(await matching(filter, env), text).toBe(specs.length);
      }

      const page = await status(['--limit', '1'], env);
      expect(page.runs.map((line) => line.spec)).toEqual(['asks']);
      const second = await status(['--limit', '1', '--before', page.next ?? ''], env);
      expect([second.runs.map((line) => line.spec), second.next]).toEqual([['bad'], null]);

      await rig.run(['pause', 'last'], env);
      await rig.until(async () => (await found(port, "FretsawState = 'paused'")).length === 1);
      expect((await status(['--state', 'paused'], env)).runs).toHaveLength(1);
      await rig.run(['approve', 'last', 'only', '--reason', 'yes'], env);
      await rig.run(['resume', 'last'], env);
      expect((await run.ended).code).toBe(0);
      expect((await status(['--state', 'done'], env)).runs.map((line) => line.spec)).toEqual(['asks']);
      expect(await found(port, "FretsawState = 'done' AND FretsawKinds = 'command'")).toEqual([
        `run-${asking?.run ?? ''}`,
      ]);

      const { out } = await rig.run(['status'], env);
      const [head = '', first = ''] = out.split('\n');
      for (const name of ['spec', 'state', 'stages']) expect(first[head.indexOf(name) - 1]).toBe(' ');
      expect(first.slice(head.indexOf('state'))).toMatch(/^done +ada +[0-9a-f]{12} +1 ran$/);
      const wrong = await rig.run(['status', '--state', 'don'], env);
      expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining('expected running, paused')]);
    } finally {
      await stopServer(folder);
    }
  });

  test('reads the store where a cluster has no search attributes, and the run says so and is none the worse', async () => {
    const server = await BareServer.start();
    const env = { TEMPORAL_ADDRESS: `127.0.0.1:${server.port}`, FRETSAW_OWNER: 'ada' };
    try {
      rig.write('a.yaml', spec('plain', 'echo > "$1"/x'));
      const run = await rig.run(['run', 'a.yaml', '--json'], env);
      expect(JSON.parse(run.out)).toMatchObject({ state: 'done' });
      expect(run.err).toContain('namespace default has no search attributes of runs');
      expect((await status(['--owner', 'ada'], env)).runs).toMatchObject([{ spec: 'plain', state: 'done' }]);
      expect((await status(['--owner', 'bob'], env)).runs).toEqual([]);
    } finally {
      await server.stop();
    }
  });

  test("a home's own server knows them too, also on a database that is older than they are", async () => {
    rig.write('asks.yaml', spec('asks', 'echo > "$1"/x', 'approve: "really?", '));
    const old = await BareServer.start({ db: join(rig.home, 'temporal', 'db') });
    await old.stop();
    // The first run may be too early for what its worker adds; the second is not.
    const first = rig.start(['run', 'asks.yaml']);
    await rig.until(async () => (await status(['--spec', 'asks'], {})).runs[0]?.stages['approval'] === 1);
    await rig.run(['cancel', 'last']);
    await first.ended;
    const second = rig.start(['run', 'asks.yaml']);
    const isFound = async (): Promise<boolean> => {
      const server = findServer(join(rig.home, 'temporal'));
      return (
        server !== undefined &&
        (await found(server.port, "FretsawState = 'approval'").catch(() => [])).length === 1
      );
    };
    await rig.until(isFound);
    second.child.kill('SIGINT');
    await second.ended;
    expect((await status(['--state', 'cancelled'], {})).runs).toHaveLength(2);
  });
});
