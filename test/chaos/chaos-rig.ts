import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify, isAlive, type ProcessIdentity } from '../../activities/launchers/process-identity.ts';
import { seededIndex } from '../../selection/random.ts';
import { homePaths, homePathsAt, type HomePaths } from '../../workers/home.ts';
import type { WorkerSettings } from '../../workers/worker-settings.ts';
import { ensureBuilt, root } from '../support/built.ts';
import { Link } from '../support/link.ts';
import { chaosSpec, type ChaosShape } from './chaos-spec.ts';
import { openDiskPlace } from './disk-place.ts';
import type { Place } from './place.ts';
import { processesOf, ranksOf } from './processes.ts';
import { openS3Place } from './s3-place.ts';

export const leaseSeconds = 6;
export const heartbeatSeconds = 4;
const secondHost = 'chaos-host-2';

/** Who can be killed or frozen. */
export type Victim = 'command line' | 'worker 1' | 'worker 2' | 'server' | 'job' | 'rank';

interface JobAtWork {
  /** Of its process group too. */
  pid: number;
  folder: string;
}

/**
 * One run of the chaos pipeline: the command line with its server and worker, and a second worker
 * that takes itself for another host: it has its own host name and work folder, and shares nothing
 * with the first but the store and the server, which it reaches over a link.
 */
export class ChaosRig {
  readonly folder: string;
  readonly place: Place;
  /** From the second worker to the server. */
  readonly link: Link;
  readonly shape: ChaosShape;
  readonly #env: Record<string, string>;
  #commandLine: ChildProcess | undefined;
  #second: ChildProcess | undefined;
  #ended: { code: number | null; out: string; err: string } | undefined;
  isClosing = false;

  private constructor(folder: string, shape: ChaosShape, links: { place: Place; link: Link }) {
    this.folder = folder;
    this.shape = shape;
    this.place = links.place;
    this.link = links.link;
    this.#env = {
      PATH: process.env['PATH'] ?? '',
      HOME: process.env['HOME'] ?? '',
      FRETSAW_HOME: join(folder, 'one'),
      FRETSAW_STORE: this.place.location,
      FRETSAW_HEARTBEAT_SECONDS: String(heartbeatSeconds),
      FRETSAW_LEASE_SECONDS: String(leaseSeconds),
      FRETSAW_KEEP_JOB_FILES: '1',
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
      ...this.place.env,
    };
  }

  static async open(
    shape: ChaosShape,
    options: { kind: Place['kind']; isDisturbed: boolean },
  ): Promise<ChaosRig> {
    await ensureBuilt();
    const folder = mkdtempSync(join(tmpdir(), 'fretsaw-chaos-'));
    const place =
      options.kind === 's3' ? await openS3Place(folder) : openDiskPlace(folder, options.isDisturbed);
    writeFileSync(join(folder, 'chaos.yaml'), chaosSpec(shape));
    const link = await Link.open(() => rig.#port());
    const rig: ChaosRig = new ChaosRig(folder, shape, { place, link });
    rig.#layOutSecondHome();
    return rig;
  }

  /** Of the command line. */
  get home(): HomePaths {
    return homePaths(this.#env, this.folder);
  }

  get #secondHome(): HomePaths {
    return homePathsAt(join(this.folder, 'two'), this.place.location);
  }

  get workFolders(): string[] {
    return [this.home.work, this.#secondHome.work];
  }

  /** How the newest command line ended; undefined while it runs. */
  get ended(): { code: number | null; out: string; err: string } | undefined {
    return this.#ended;
  }

  startCommandLine(): void {
    this.#ended = undefined;
    const args = [join(root, 'dist', 'fretsaw.js'), 'run', 'chaos.yaml', '--json'];
    const child = spawn(process.execPath, args, {
      cwd: this.folder,
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (piece: Buffer) => (out += piece.toString()));
    child.stderr.on('data', (piece: Buffer) => (err += piece.toString()));
    child.once('exit', (code) => (this.#ended = { code, out, err }));
    this.#commandLine = child;
  }

  /** A host of its own where a host name can be had (root); else only a work folder of its own. */
  startSecondWorker(): void {
    if (this.#port() === undefined || this.isClosing) return;
    const settings: WorkerSettings = {
      home: this.#secondHome.root,
      store: this.place.location,
      root,
      isEmbedded: false,
      queueSuffix: '',
    };
    const program = `exec "$0" "$1" "$2"`;
    const script = hasHostNames() ? `hostname ${secondHost}; ${program}` : program;
    const worker = [process.execPath, join(root, 'dist', 'worker.js'), JSON.stringify(settings)];
    const argv = ['/bin/sh', '-c', script, ...worker];
    const log = openSync(join(this.folder, 'two', 'log'), 'a');
    const [file = '', ...args] = hasHostNames() ? ['unshare', '--uts', ...argv] : argv;
    this.#second = spawn(file, args, {
      cwd: root,
      env: { ...this.#env, TEMPORAL_ADDRESS: `127.0.0.1:${this.link.port}` },
      detached: true,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#second.on('error', () => undefined);
  }

  get isSecondWorkerAlive(): boolean {
    return pidOf(this.#second) !== undefined;
  }

  find(victim: Victim, random: () => number): number | undefined {
    switch (victim) {
      case 'command line':
        return pidOf(this.#commandLine);
      case 'worker 1':
        return livePid(join(this.home.worker, 'worker.json'));
      case 'worker 2':
        return pidOf(this.#second);
      case 'server':
        return livePid(join(this.home.temporal, 'server.json'));
      case 'job':
        return (oneOf(this.training(), random) ?? oneOf(this.jobs(), random))?.pid;
      case 'rank':
        return oneOf(
          this.training().flatMap(({ folder }) => ranksOf(folder)),
          random,
        );
    }
  }

  /** Jobs at work on either host. */
  jobs(): JobAtWork[] {
    return this.workFolders
      .flatMap(filesBelow)
      .filter((name) => name.endsWith('process.json'))
      .flatMap((name) => {
        const identity = readIdentity(name);
        // The second host's jobs run here all the same: only its name is another.
        const own = identity === undefined ? undefined : identify(identity.pid);
        return own !== undefined && own.started === identity?.started && isAlive(own)
          ? [{ pid: own.pid, folder: dirname(name) }]
          : [];
      });
  }

  /** Those that have told a step and are not at their last one. */
  training(): JobAtWork[] {
    return this.jobs().filter(({ folder }) => {
      const told = readEvents(join(folder, 'events.jsonl')).findLast(({ event }) => event === 'progress');
      return told?.['unit'] === 'steps' && Number(told['step']) < Number(told['total']);
    });
  }

  /** Attempts' folders of both hosts, with the events that each told. */
  attempts(): { path: string; events: Record<string, unknown>[] }[] {
    return this.workFolders
      .flatMap(filesBelow)
      .filter((name) => /\/\d+\/events\.jsonl$/.test(name))
      .map((name) => ({ path: name, events: readEvents(name) }));
  }

  async stopSecondWorker(): Promise<void> {
    this.isClosing = true;
    const second = this.#second;
    if (second === undefined || !this.isSecondWorkerAlive) return;
    const gone = new Promise((resolve) => second.once('exit', resolve));
    process.kill(-(second.pid ?? 0), 'SIGTERM');
    const timer = setTimeout(() => second.kill('SIGKILL'), 30_000);
    await gone;
    clearTimeout(timer);
  }

  /** `FRETSAW_CHAOS_KEEP=1` leaves the folder for a look; nothing is left running either way. */
  async close(): Promise<void> {
    const until = Date.now() + 10_000;
    while (processesOf(this.folder).length > 0 && Date.now() < until) {
      for (const pid of processesOf(this.folder)) tryKill(pid);
      await sleep(50);
    }
    await this.link.close();
    if (process.env['FRETSAW_CHAOS_KEEP'] === '1') return;
    await this.place.close();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  #layOutSecondHome(): void {
    const { clients, worker } = this.#secondHome;
    mkdirSync(clients, { recursive: true });
    mkdirSync(worker, { recursive: true });
    // Its worker stays while this process, known by that host's name, lives.
    const self = identify(process.pid);
    const host = hasHostNames() ? secondHost : self?.host;
    writeFileSync(join(clients, `${process.pid}.json`), JSON.stringify({ ...self, host }));
  }

  /** Of the server, as it was started last. */
  #port(): number | undefined {
    try {
      const text = readFileSync(join(this.home.temporal, 'server.json'), 'utf8');
      return (JSON.parse(text) as { port: number }).port;
    } catch {
      return undefined;
    }
  }
}

/** Undefined when it has ended. */
function pidOf(child: ChildProcess | undefined): number | undefined {
  return child?.exitCode === null && child.signalCode === null ? child.pid : undefined;
}

function oneOf<T>(list: readonly T[], random: () => number): T | undefined {
  return list.length === 0 ? undefined : list[seededIndex(random, list.length)];
}

/** Workers remove folders while they are looked through: then it is looked again. */
function filesBelow(folder: string): string[] {
  for (let tries = 0; tries < 100 && existsSync(folder); tries++) {
    try {
      return readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name)));
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
  return [];
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself since.
  }
}

let canName: boolean | undefined;

function hasHostNames(): boolean {
  canName ??= spawnSync('unshare', ['--uts', 'hostname', secondHost], { stdio: 'ignore' }).status === 0;
  return canName;
}

function livePid(path: string): number | undefined {
  const identity = readIdentity(path);
  return identity !== undefined && isAlive(identity) ? identity.pid : undefined;
}

function readIdentity(path: string): ProcessIdentity | undefined {
  try {
    const document = JSON.parse(readFileSync(path, 'utf8')) as {
      process?: ProcessIdentity;
    } & ProcessIdentity;
    return document.process ?? document;
  } catch {
    return undefined;
  }
}

function readEvents(path: string): Record<string, unknown>[] {
  return readIfThere(path)
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Record<string, unknown>];
      } catch {
        return []; // the half line of a killed job
      }
    });
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
