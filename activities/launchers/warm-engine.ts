import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobFolder } from '../job-folder.ts';
import type { JobCommand } from './launcher.ts';
import type { ProcessIdentity } from './process-identity.ts';

export interface WarmEngineOptions {
  python: string;
  env: Readonly<Record<string, string>>;
  /** Gets what the warm parent itself writes. */
  log: string;
}

/** Importing PyTorch, transformers and TRL takes seconds, on a busy host a minute. */
const warmUpMs = 180_000;

/** Why a job has to be started by itself, with everything imported anew. */
export interface ColdStart {
  cold: string;
}

/**
 * Forks engine jobs off a parent that has imported everything heavy (`python -m
 * fretsaw_engine.zygote`). The parent is started with the first job and ends with this process; the
 * jobs outlive both. When it refuses or does not answer, the job is started cold by the launcher.
 */
export class WarmEngine {
  readonly #options: WarmEngineOptions;
  readonly #socket: string;
  #parent: ChildProcess | undefined;

  constructor(options: WarmEngineOptions) {
    this.#options = options;
    // A unix socket's path holds 107 bytes at most: too few for some home folders.
    this.#socket = join(mkdtempSync(join(tmpdir(), 'fretsaw-')), 'zygote');
  }

  async start(folder: JobFolder, { env }: JobCommand): Promise<ProcessIdentity | ColdStart> {
    const parent = this.#ensureParent();
    const until = Date.now() + warmUpMs;
    while (parent.exitCode === null && Date.now() < until) {
      const answer = await ask(this.#socket, { job: folder.job, log: folder.log, env });
      const identity = answer === undefined ? undefined : readIdentity(answer);
      if (identity !== undefined) return identity;
      if (answer !== undefined) return { cold: `the warm engine refused it: ${JSON.stringify(answer)}` };
      await sleep(100);
    }
    const how =
      parent.exitCode === null
        ? `did not answer within ${warmUpMs / 1000} s`
        : `ended with code ${parent.exitCode}`;
    return { cold: `the warm engine ${how}; it wrote to ${this.#options.log}` };
  }

  close(): void {
    this.#parent?.kill('SIGTERM');
    rmSync(join(this.#socket, '..'), { recursive: true, force: true });
  }

  #ensureParent(): ChildProcess {
    if (this.#parent !== undefined && this.#parent.exitCode === null && this.#parent.signalCode === null)
      return this.#parent;
    const log = openSync(this.#options.log, 'a');
    this.#parent = spawn(this.#options.python, ['-m', 'fretsaw_engine.zygote', this.#socket], {
      env: { ...this.#options.env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#parent.on('error', () => undefined);
    this.#parent.unref();
    return this.#parent;
  }
}

/** One JSON line there and one back; undefined while nobody listens or when the other side is gone. */
function ask(path: string, request: object): Promise<Record<string, unknown> | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let text = '';
    socket.setTimeout(warmUpMs, () => socket.destroy());
    socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on('data', (chunk) => (text += chunk.toString('utf8')));
    socket.on('error', () => {
      resolve(undefined);
    });
    socket.on('close', () => {
      resolve(parse(text));
    });
  });
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

function readIdentity({ host, pid, started }: Record<string, unknown>): ProcessIdentity | undefined {
  if (typeof host !== 'string' || typeof pid !== 'number' || typeof started !== 'string') return undefined;
  return { host, pid, started };
}
