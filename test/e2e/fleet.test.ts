import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findServer, startServer, stopServer } from '../../workers/embedded-server.ts';
import { programPaths } from '../../workers/worker-settings.ts';
import { root } from '../support/built.ts';
import { CliRig } from '../support/cli-rig.ts';

const healthPort = 28_000 + (process.pid % 1000);
let rig: CliRig;
let server: string;
const workers: ChildProcess[] = [];
beforeEach(async () => {
  rig = await CliRig.open();
  server = join(rig.folder, 'cluster');
  await startServer(server, programPaths.temporal(root));
}, 240_000);
afterEach(async () => {
  for (const worker of workers.splice(0)) worker.kill('SIGKILL');
  await stopServer(server);
  await rig.close();
});

const environment = (): Record<string, string> => ({
  TEMPORAL_ADDRESS: `127.0.0.1:${findServer(server)?.port ?? 0}`,
  FRETSAW_CONTROL: 'shared',
  FRETSAW_HOME: rig.home,
  FRETSAW_STORE: join(rig.folder, 'store'),
});

/** Another build of the same code: its own dist/, the rest by links. */
function otherBuild(): string {
  const folder = join(rig.folder, 'other');
  cpSync(join(root, 'dist'), join(folder, 'dist'), {
    recursive: true,
    filter: (path) => !/test-reports|\.map$|tsbuildinfo|eslintcache/.test(path),
  });
  for (const name of ['node_modules', '.venv', 'engine', 'kinds', 'package.json', 'package-lock.json'])
    symlinkSync(join(root, name), join(folder, name));
  for (const name of [
    'activities',
    'compiler',
    'core',
    'costs',
    'evaluation',
    'report',
    'selection',
    'store',
    'lineage',
  ])
    symlinkSync(join(root, name), join(folder, name));
  const path = join(folder, 'dist', 'build.json');
  const build = JSON.parse(readFileSync(path, 'utf8')) as { build: string };
  writeFileSync(path, JSON.stringify({ ...build, build: 'f'.repeat(64) }));
  return folder;
}

/** A worker of the build that lies at `at`; resolves when it serves. */
async function start(at: string, args: string[], env: Record<string, string> = {}): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(at, 'dist', 'fretsaw.js'), 'worker', ...args], {
    cwd: rig.folder,
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...environment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  workers.push(child);
  let told = '';
  child.stderr.on('data', (chunk: Buffer) => (told += chunk.toString()));
  await rig.until(() => told.includes('serving queue') || child.exitCode !== null, 120);
  expect(told).toContain('serving queue');
  return child;
}

/** The build that each run and each stage was worked on by, in the end. */
async function builds(): Promise<string[]> {
  const connection = await Connection.connect({ address: environment()['TEMPORAL_ADDRESS'] ?? '' });
  const { workflowService } = connection;
  try {
    const { executions } = await workflowService.listWorkflowExecutions({ namespace: 'default' });
    const ours = executions.filter(({ type }) => type?.name === 'runPipeline' || type?.name === 'runStage');
    return await Promise.all(
      ours.map(async ({ execution }) => {
        const { workflowExecutionInfo: info } = await workflowService.describeWorkflowExecution({
          namespace: 'default',
          execution: execution ?? null,
        });
        return info?.versioningInfo?.deploymentVersion?.buildId ?? '';
      }),
    );
  } finally {
    await connection.close();
  }
}

const spec = (folder: string): string => `fretsaw: v1
name: test
stages:
  first: { kind: command, pool: big, with: { argv: [sh, -c, 'echo first >> ${folder}/ran; while [ ! -e ${folder}/go ]; do sleep 0.1; done; echo made > "$0"/x', "{out}"], outputs: { out: out } } }
  second: { kind: command, pool: big, inputs: { a: first.out }, with: { argv: [sh, -c, 'echo second >> ${folder}/ran; cp "$0"/x "$1"/x', "{a}", "{out}"], outputs: { out: out } } }
`;

test(
  'a run of a fleet ends on the build that it started on, stages too; later runs start on the promoted one',
  { timeout: 400_000 },
  async () => {
    rig.write('a.yaml', spec(rig.folder));
    rig.write(
      'b.yaml',
      spec(rig.folder)
        .replaceAll('echo first', 'echo later')
        .replace('echo made', 'echo other')
        .replace('while [ ! -e', 'while [ -e nothing -a ! -e'),
    );
    // Another host as far as Fretsaw can see: all that it shares with the others is the store.
    rig.write('big.yaml', `fretsaw: pool/v1\nname: big\nslots: 2\nhome: ${rig.folder}/elsewhere\n`);
    const other = otherBuild();
    await start(root, ['--control'], { FRETSAW_HEALTH_PORT: String(healthPort) });
    for (const [path, status] of [
      ['livez', 200],
      ['readyz', 200],
      ['else', 404],
    ] as const)
      expect((await fetch(`http://127.0.0.1:${healthPort}/${path}`)).status).toBe(status);
    await start(root, ['--pool', './big.yaml']);
    const run = rig.start(['run', 'a.yaml', '--json'], environment());
    await rig.until(() => rig.lines('ran').length === 1, 120);

    await start(other, ['--control']);
    await start(other, ['--pool', './big.yaml']);
    const promoted = spawn(process.execPath, [join(other, 'dist', 'fretsaw.js'), 'worker', '--promote'], {
      cwd: rig.folder,
      env: { PATH: process.env['PATH'] ?? '', ...environment() },
      stdio: 'inherit',
    });
    expect(await new Promise((resolve) => promoted.once('close', resolve))).toBe(0);
    const later = await rig.run(['run', 'b.yaml', '--json'], environment());
    expect(JSON.parse(later.out)).toMatchObject({ state: 'done' });
    rig.write('go', '');
    const { out } = await run.ended;
    expect(JSON.parse(out)).toMatchObject({ state: 'done', counts: { ran: 2 } });
    expect(rig.lines('ran')).toEqual(['first', 'later', 'second', 'second']);

    const mine = (
      JSON.parse(readFileSync(programPaths.build(root), 'utf8')) as { build: string }
    ).build.slice(0, 16);
    const found = await builds();
    const [older, newer] = [mine, 'f'.repeat(16)];
    expect(found.sort()).toEqual([older, older, older, newer, newer, newer].sort());
  },
);
