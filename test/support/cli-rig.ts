import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { isAlive, type ProcessIdentity } from '../../activities/launchers/process-identity.ts';
import { findServer } from '../../workers/embedded-server.ts';
import { ensureBuilt, root } from './built.ts';

export interface Ended {
  code: number | null;
  out: string;
  err: string;
}

export interface Running {
  child: ChildProcess;
  ended: Promise<Ended>;
}

/**
 * The built command line in a folder of its own, with a home of its own: real server, real worker,
 * real jobs. Lost workers are noticed in seconds instead of a quarter of a minute.
 */
export class CliRig {
  readonly folder: string;
  readonly #running = new Set<ChildProcess>();

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(): Promise<CliRig> {
    await ensureBuilt();
    return new CliRig(mkdtempSync(join(tmpdir(), 'fretsaw-e2e-')));
  }

  get home(): string {
    return join(this.folder, '.fretsaw');
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
    const child = spawn(process.execPath, [join(root, 'dist', 'fretsaw.js'), ...args], {
      cwd: this.folder,
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: process.env['HOME'] ?? '',
        FRETSAW_HEARTBEAT_SECONDS: '6',
        FRETSAW_LEASE_SECONDS: '30',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#running.add(child);
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    const ended = new Promise<Ended>((resolve) => {
      child.once('close', (code) => {
        this.#running.delete(child);
        resolve({ code, out, err });
      });
    });
    return { child, ended };
  }

  async run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
    return await this.start(args, env).ended;
  }

  /** Lines of a file that stages append to: how often which of them ran. */
  lines(name: string): string[] {
    const path = join(this.folder, name);
    return existsSync(path)
      ? readFileSync(path, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
      : [];
  }

  async until(what: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
    for (let waited = 0; !(await what()); waited += 50) {
      if (waited > seconds * 1000) throw new Error(`waited ${seconds} s in vain for ${String(what)}`);
      await sleep(50);
    }
  }

  /** Runs that wait for the stages now at work, by what the stages themselves say. */
  async waiters(): Promise<number> {
    const server = findServer(join(this.home, 'temporal'));
    if (server === undefined) return 0;
    const connection = await Connection.connect({ address: `127.0.0.1:${server.port}` });
    try {
      const client = new Client({ connection });
      let most = 0;
      for await (const { workflowId } of client.workflow.list({
        query: "WorkflowType = 'runStage' AND ExecutionStatus = 'Running'",
      })) {
        const waiters = await client.workflow.getHandle(workflowId).query<string[]>('waiters');
        most = Math.max(most, waiters.length);
      }
      return most;
    } catch {
      return 0;
    } finally {
      await connection.close();
    }
  }

  worker(): ProcessIdentity | undefined {
    return identityIn(join(this.home, 'worker', 'worker.json'));
  }

  server(): ProcessIdentity | undefined {
    return identityIn(join(this.home, 'temporal', 'server.json'));
  }

  /** The furthest step that any job of this rig has told. */
  step(): number {
    const work = join(this.home, 'work');
    if (!existsSync(work)) return 0;
    const events = readdirSync(work, { recursive: true }).map(String);
    const steps = events
      .filter((name) => name.endsWith('events.jsonl'))
      .flatMap((name) => readFileSync(join(work, name), 'utf8').match(/"progress".*?"step": (\d+)/g) ?? [])
      .map((text) => Number(/\d+$/.exec(text)?.[0]));
    return Math.max(0, ...steps);
  }

  /** Jobs of all attempts that are alive. */
  jobs(): ProcessIdentity[] {
    const work = join(this.home, 'work');
    if (!existsSync(work)) return [];
    return readdirSync(work, { recursive: true })
      .map(String)
      .filter((name) => name.endsWith('process.json'))
      .map((name) => JSON.parse(readFileSync(join(work, name), 'utf8')) as ProcessIdentity)
      .filter(isAlive);
  }

  /** Nothing of this rig is left running, whatever a failed test left behind. */
  async close(): Promise<void> {
    for (const child of this.#running) child.kill('SIGKILL');
    for (const identity of [this.worker(), this.server(), ...this.jobs()]) {
      if (identity !== undefined && isAlive(identity)) process.kill(-identity.pid, 'SIGKILL');
    }
    await sleep(100);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function identityIn(path: string): ProcessIdentity | undefined {
  if (!existsSync(path)) return undefined;
  const { process: identity } = JSON.parse(readFileSync(path, 'utf8')) as { process: ProcessIdentity };
  return isAlive(identity) ? identity : undefined;
}
