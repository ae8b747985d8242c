import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeWhole } from '../activities/job-folder.ts';
import {
  identify,
  isAlive,
  signalGroup,
  type ProcessIdentity,
} from '../activities/launchers/process-identity.ts';
import { Failure } from '../core/errors.ts';
import { serverFlags } from './search-attributes.ts';

/** A Temporal dev server of this home: its process and where it listens. */
export interface EmbeddedServer {
  process: ProcessIdentity;
  port: number;
}

const startTimeoutMs = 30_000;
const tries = 3;

/** The running server of this home, if its process lives. */
export function findServer(folder: string): EmbeddedServer | undefined {
  try {
    const server = JSON.parse(readFileSync(join(folder, 'server.json'), 'utf8')) as EmbeddedServer;
    return isAlive(server.process) ? server : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Starts the server on this home's database, under the home's lock: the database itself is not
 * guarded against a second server. The last port is taken again if it is free, so that workers find
 * a restarted server where they left it; else another.
 */
export async function startServer(folder: string, binary: string): Promise<EmbeddedServer> {
  const running = findServer(folder);
  if (running !== undefined) return running;
  if (!existsSync(binary)) {
    throw new Failure(
      'NOT_FOUND',
      `no Temporal server at ${binary}: run npm run setup, or set TEMPORAL_ADDRESS`,
    );
  }
  mkdirSync(folder, { recursive: true });
  for (let left = tries; left > 0; left--) {
    const port = await choosePort(left === tries ? lastPort(folder) : undefined);
    const server = await launch(folder, { binary, port });
    if (server !== undefined) return server;
  }
  throw new Failure('TIMEOUT', `the embedded Temporal server did not start; see ${join(folder, 'log')}`);
}

export async function stopServer(folder: string): Promise<void> {
  const server = findServer(folder);
  if (server === undefined) return;
  signalGroup(server.process.pid, 'SIGTERM');
  for (let waited = 0; isAlive(server.process) && waited < 10_000; waited += 50) await sleep(50);
  if (isAlive(server.process)) signalGroup(server.process.pid, 'SIGKILL');
  while (isAlive(server.process)) await sleep(20);
}

/** WAL and NORMAL make the server ten times as fast and survive kill -9. */
function serverArguments(folder: string, port: number): string[] {
  return [
    ...['server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', String(port)],
    ...['--db-filename', join(folder, 'db')],
    ...['--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL'],
    ...['--dynamic-config-value', 'frontend.WorkflowPauseEnabled=true'],
    ...serverFlags,
    ...['--log-level', 'warn'],
  ];
}

async function launch(
  folder: string,
  { binary, port }: { binary: string; port: number },
): Promise<EmbeddedServer | undefined> {
  const log = openSync(join(folder, 'log'), 'a');
  const child = spawn(binary, serverArguments(folder, port), { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  child.unref();
  child.on('error', () => undefined);
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (identity === undefined) return undefined;
  const server: EmbeddedServer = { process: identity, port };
  await writeWhole(join(folder, 'server.json'), server);
  const until = Date.now() + startTimeoutMs;
  while (child.exitCode === null && child.signalCode === null && Date.now() < until) {
    if (await answers(port)) return server;
    await sleep(20);
  }
  signalGroup(identity.pid, 'SIGKILL');
  rmSync(join(folder, 'server.json'), { force: true });
  return undefined;
}

function lastPort(folder: string): number | undefined {
  try {
    return (JSON.parse(readFileSync(join(folder, 'server.json'), 'utf8')) as EmbeddedServer).port;
  } catch {
    return undefined;
  }
}

/** `wanted` if nobody listens there, else one that the system says is free. */
async function choosePort(wanted: number | undefined): Promise<number> {
  const bind = (port: number): Promise<number | undefined> =>
    new Promise((resolve) => {
      const server = createServer();
      server.once('error', () => {
        resolve(undefined);
      });
      server.listen(port, '127.0.0.1', () => {
        const address = server.address();
        server.close(() => {
          resolve(typeof address === 'object' ? address?.port : undefined);
        });
      });
    });
  const port = (wanted === undefined ? undefined : await bind(wanted)) ?? (await bind(0));
  if (port === undefined) throw new Failure('NOT_FOUND', 'no free TCP port on 127.0.0.1');
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}
