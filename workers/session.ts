import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
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
import { joinClients, leaveClients, liveClients } from './clients.ts';
import { findServer, startServer, stopServer } from './embedded-server.ts';
import { withLock } from './home-lock.ts';
import type { HomePaths } from './home.ts';
import { programPaths, type WorkerSettings } from './worker-settings.ts';

interface RunningWorker {
  process: ProcessIdentity;
  build: string;
}

/**
 * One command line's use of this home's server and worker. They are shared by all command lines of
 * the home; the last one to leave stops them. While it is open, what was killed is started again.
 * On a fleet's cluster there is nothing to start.
 */
export class Session {
  readonly #paths: HomePaths;
  readonly #settings: WorkerSettings;
  #timer: NodeJS.Timeout | undefined;
  #mending: Promise<void> = Promise.resolve();

  private constructor(paths: HomePaths, settings: WorkerSettings) {
    this.#paths = paths;
    this.#settings = settings;
  }

  /** `onMend` hears of what had died and was started again. */
  static async open(
    paths: HomePaths,
    settings: WorkerSettings,
    onMend: (what: string) => void,
  ): Promise<Session> {
    const session = new Session(paths, settings);
    if (settings.isShared === true) return session;
    mkdirSync(paths.root, { recursive: true });
    joinClients(paths.clients);
    try {
      await withLock(paths.root, () => session.#ensure(() => undefined));
    } catch (error) {
      leaveClients(paths.clients);
      throw error;
    }
    session.#watch(onMend);
    return session;
  }

  /** Undefined for a cluster that the environment names. */
  get port(): number | undefined {
    return this.#settings.isEmbedded ? findServer(this.#paths.temporal)?.port : undefined;
  }

  async close(): Promise<void> {
    if (this.#settings.isShared === true) return;
    clearInterval(this.#timer);
    await this.#mending;
    await withLock(this.#paths.root, async () => {
      leaveClients(this.#paths.clients);
      if (liveClients(this.#paths.clients).length > 0) return;
      await stopWorker(this.#paths);
      if (this.#settings.isEmbedded) await stopServer(this.#paths.temporal);
    });
  }

  /** The worker is started first: it loads while the server boots, and waits for it. */
  async #ensure(onMend: (what: string) => void): Promise<void> {
    const { isEmbedded, root } = this.#settings;
    const before = isEmbedded ? findServer(this.#paths.temporal) : undefined;
    const started = await this.#ensureWorker();
    if (started) onMend('worker');
    if (!isEmbedded || before !== undefined) return;
    await startServer(this.#paths.temporal, programPaths.temporal(root));
    onMend('Temporal server');
  }

  async #ensureWorker(): Promise<boolean> {
    const build = readBuild(this.#settings.root);
    const running = findWorker(this.#paths);
    if (running?.build === build) return false;
    if (running !== undefined) {
      const others = liveClients(this.#paths.clients).filter(({ pid }) => pid !== process.pid);
      if (others.length > 0) {
        throw new Failure(
          'VERSION_MISMATCH',
          `another build of fretsaw is at work here (process ${others[0]?.pid}): wait until it ends`,
        );
      }
      await stopWorker(this.#paths);
    }
    await startWorker(this.#paths, this.#settings, build);
    return true;
  }

  #watch(onMend: (what: string) => void): void {
    let isMending = false;
    this.#timer = setInterval(() => {
      const isWhole =
        findWorker(this.#paths) !== undefined && (!this.#settings.isEmbedded || this.port !== undefined);
      if (isWhole || isMending) return;
      isMending = true;
      this.#mending = withLock(this.#paths.root, () => this.#mend(onMend))
        .catch((error: unknown) => {
          onMend(`nothing: ${String(error)}`);
        })
        .finally(() => {
          isMending = false;
        });
    }, 500);
  }

  /** A server that had to take another port is found by a new worker only. */
  async #mend(onMend: (what: string) => void): Promise<void> {
    const before = lastPort(this.#paths);
    if (this.#settings.isEmbedded && this.port === undefined) {
      const { port } = await startServer(this.#paths.temporal, programPaths.temporal(this.#settings.root));
      onMend('Temporal server');
      if (port !== before) await stopWorker(this.#paths);
    }
    await this.#ensure(onMend);
  }
}

function lastPort(paths: HomePaths): number | undefined {
  try {
    return (JSON.parse(readFileSync(join(paths.temporal, 'server.json'), 'utf8')) as { port: number }).port;
  } catch {
    return undefined;
  }
}

export function findWorker(paths: HomePaths): RunningWorker | undefined {
  try {
    const worker = JSON.parse(readFileSync(join(paths.worker, 'worker.json'), 'utf8')) as RunningWorker;
    return isAlive(worker.process) ? worker : undefined;
  } catch {
    return undefined;
  }
}

async function startWorker(paths: HomePaths, settings: WorkerSettings, build: string): Promise<void> {
  mkdirSync(paths.worker, { recursive: true });
  const log = openSync(join(paths.worker, 'log'), 'a');
  const child = spawn(
    process.execPath,
    ['--enable-source-maps', programPaths.worker(settings.root), JSON.stringify(settings)],
    {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: settings.root,
    },
  );
  closeSync(log);
  child.unref();
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (identity === undefined)
    throw new Failure('NODE_LOST', `the worker did not start; see ${join(paths.worker, 'log')}`);
  await writeWhole(join(paths.worker, 'worker.json'), { process: identity, build } satisfies RunningWorker);
}

async function stopWorker(paths: HomePaths): Promise<void> {
  const running = findWorker(paths);
  if (running === undefined) return;
  signalGroup(running.process.pid, 'SIGTERM');
  for (let waited = 0; isAlive(running.process) && waited < 25_000; waited += 25) await sleep(25);
  if (isAlive(running.process)) signalGroup(running.process.pid, 'SIGKILL');
  while (isAlive(running.process)) await sleep(20);
}

/** Names the built program, so that a worker of other code is not taken for ours. */
function readBuild(root: string): string {
  try {
    return (JSON.parse(readFileSync(programPaths.build(root), 'utf8')) as { build: string }).build;
  } catch (cause) {
    throw new Failure('NOT_FOUND', `no build in ${join(root, 'dist')}: run npm run setup`, { cause });
  }
}
