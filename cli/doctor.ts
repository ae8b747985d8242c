import { execFile } from 'node:child_process';
import { accessSync, existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { findServer } from '../workers/embedded-server.ts';
import { homePaths } from '../workers/home.ts';
import { findWorker } from '../workers/session.ts';
import { programPaths } from '../workers/worker-settings.ts';
import { exitCodes, type Command, type Invocation } from './command.ts';
import type { S3Location } from '../store/s3/s3-location.ts';
import { parseStoreLocation } from '../store/store-location.ts';
import { paint } from './paint.ts';
import { sizeText } from './table.ts';
import { version } from './version.ts';

interface Check {
  name: string;
  /** `off`: fine, and not there now. */
  state: 'ok' | 'bad' | 'off';
  found: string;
  /** What to do about it. */
  hint?: string;
}

const leastNode = [20, 12] as const;
const leastFreeBytes = 2 * 1024 ** 3;

/** What is installed, what answers, and what to do about the rest. Fails when something is bad. */
export const command: Command = {
  async run(invocation) {
    const checks = await Promise.all([
      checkNode(),
      checkBuild(invocation),
      checkPython(invocation),
      checkTemporal(invocation),
      checkServer(invocation),
      checkWorker(invocation),
      checkHome(invocation),
      ...checkRemote(invocation),
      checkDisk(invocation),
    ]);
    const isBad = checks.some(({ state }) => state === 'bad');
    if (invocation.json)
      invocation.terminal.out(`${JSON.stringify({ fretsaw: version, ok: !isBad, checks })}\n`);
    else invocation.terminal.out(render(checks, invocation));
    return isBad ? exitCodes.failed : exitCodes.ok;
  },
};

function render(checks: readonly Check[], { terminal }: Invocation): string {
  const colors = { ok: 'green', bad: 'red', off: 'dim' } as const;
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks
    .map(
      ({ name, state, found, hint }) =>
        `${paint(terminal, colors[state], state.padEnd(3))}  ${name.padEnd(width)}  ${found}\n${hint === undefined ? '' : `     ${hint}\n`}`,
    )
    .join('');
}

async function checkNode(): Promise<Check> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isNew = major > leastNode[0] || (major === leastNode[0] && minor >= leastNode[1]);
  const found = `${process.versions.node}, fretsaw ${version}`;
  return isNew
    ? { name: 'node', state: 'ok', found }
    : { name: 'node', state: 'bad', found, hint: `install Node ${leastNode.join('.')} or newer` };
}

async function checkBuild({ installation: { root } }: Invocation): Promise<Check> {
  const path = programPaths.build(root);
  if (!existsSync(path))
    return { name: 'build', state: 'bad', found: `none in ${dirname(path)}`, hint: 'npm run setup' };
  return {
    name: 'build',
    state: 'ok',
    found: `${dirname(path)} ${/"build":"(\w{12})/.exec(readFileSync(path, 'utf8'))?.[1] ?? ''}`,
  };
}

async function checkPython({ installation: { root } }: Invocation): Promise<Check> {
  const python = programPaths.python(root);
  const script = `import sys, importlib.metadata as m\nprint(sys.version.split()[0], *(p + ' ' + m.version(p) for p in ('torch', 'transformers', 'trl', 'onnx')), sep=', ')`;
  const answer = await ask(python, ['-c', script]);
  return 'text' in answer
    ? { name: 'python', state: 'ok', found: `${answer.text} (${python})` }
    : { name: 'python', state: 'bad', found: answer.error, hint: 'npm run setup makes .venv again' };
}

async function checkTemporal({ installation: { root } }: Invocation): Promise<Check> {
  const answer = await ask(programPaths.temporal(root), ['--version']);
  return 'text' in answer
    ? { name: 'temporal', state: 'ok', found: answer.text }
    : { name: 'temporal', state: 'bad', found: answer.error, hint: 'npm run setup' };
}

async function checkServer({ env, cwd }: Invocation): Promise<Check> {
  const { namedCluster } = await import('../workers/cluster.ts');
  const named = namedCluster(env);
  const server = findServer(homePaths(env, cwd).temporal);
  if (named === undefined && server === undefined)
    return { name: 'server', state: 'off', found: 'embedded, started by the next run' };
  const where = named?.connectionOptions.address ?? `127.0.0.1:${server?.port ?? 0}`;
  const { connectClient } = await import('./temporal-client.ts');
  try {
    const client = await connectClient(env, named === undefined ? server?.port : undefined, 1);
    await client.connection.close();
    return {
      name: 'server',
      state: 'ok',
      found: `${named === undefined ? 'embedded' : 'named'}, answers at ${where}`,
    };
  } catch (error) {
    return {
      name: 'server',
      state: 'bad',
      found: `${where}: ${String(error)}`,
      hint: named === undefined ? 'the next run starts it again' : 'see TEMPORAL_ADDRESS',
    };
  }
}

async function checkWorker({ env, cwd }: Invocation): Promise<Check> {
  const worker = findWorker(homePaths(env, cwd));
  if (worker === undefined) return { name: 'worker', state: 'off', found: 'started by the next run' };
  return { name: 'worker', state: 'ok', found: `process ${worker.process.pid}` };
}

async function checkHome({ env, cwd }: Invocation): Promise<Check> {
  const { root } = homePaths(env, cwd);
  const probe = join(root, `.doctor.${process.pid}`);
  try {
    mkdirSync(root, { recursive: true });
    writeFileSync(probe, 'probe');
    rmSync(probe);
    return { name: 'store', state: 'ok', found: `${root} can be written` };
  } catch (error) {
    return {
      name: 'store',
      state: 'bad',
      found: String(error),
      hint: 'set FRETSAW_HOME to a folder of yours',
    };
  }
}

/** What the service of a store in S3 keeps of what it promises: found out once, and kept in the store. */
function checkRemote({ env, cwd }: Invocation): Promise<Check>[] {
  const { store } = homePaths(env, cwd);
  const place = store === undefined ? undefined : parseStoreLocation(store);
  return place?.kind === 's3' ? [checkServerOf(place.s3, place.name)] : [];
}

async function checkServerOf(place: S3Location, name: string): Promise<Check> {
  const { connectS3, usualPatience } = await import('../store/s3/s3-connection.ts');
  const { knownServer } = await import('../store/s3/server-check.ts');
  try {
    const server = await knownServer(connectS3(place, { patience: { ...usualPatience, attempts: 3 } }));
    const found =
      `${name}: create-only PUT ${server.createOnly}, wrong payload ${server.payloadHash}, ` +
      `wrong sha256 ${server.checksums.sha256}, wrong crc32 ${server.checksums.crc32}, ` +
      `versioning ${server.versioning}, object lock ${server.objectLock} (${server.probedAt})`;
    if (server.createOnly === 'atomic' || place.allowsNonAtomicCreate)
      return { name: 's3', state: 'ok', found };
    const hint = 'two writers may both be first here: use another service, or say allow=non-atomic-create';
    return { name: 's3', state: 'bad', found, hint };
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    return { name: 's3', state: 'bad', found: said, hint: 'see --store in docs/operations.md' };
  }
}

async function checkDisk({ env, cwd }: Invocation): Promise<Check> {
  const { root } = homePaths(env, cwd);
  const { bavail, bsize } = statfsSync(existing(root));
  const free = bavail * bsize;
  const found = `${sizeText(free)} free`;
  return free >= leastFreeBytes
    ? { name: 'disk', state: 'ok', found }
    : { name: 'disk', state: 'bad', found, hint: `a run wants ${sizeText(leastFreeBytes)}` };
}

function existing(path: string): string {
  try {
    accessSync(path);
    return path;
  } catch {
    return existing(dirname(path));
  }
}

async function ask(program: string, args: string[]): Promise<{ text: string } | { error: string }> {
  try {
    const { stdout } = await promisify(execFile)(program, args, { timeout: 30_000 });
    return { text: stdout.trim() };
  } catch (error) {
    return { error: error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error) };
  }
}
