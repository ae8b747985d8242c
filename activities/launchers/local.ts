import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { readText, type JobFolder } from '../job-folder.ts';
import type { JobCommand, JobState, Launcher } from './launcher.ts';
import { handOver, type JobUser } from './job-user.ts';
import { resolveSecrets, type SecretReader } from './secrets.ts';
import type { WarmEngine } from './warm-engine.ts';
import type { Spawner } from './spawner.ts';
import { dumpStacks } from './dump-stacks.ts';
import { isAlive, signalGroup, type ProcessIdentity } from './process-identity.ts';
import { waitByPolling } from './scheduled-job.ts';
import { killAll, processTree } from './process-tree.ts';

/**
 * Runs the argv as it is (no word of it is read by the shell) and notes its exit code in one write
 * that ends in a newline, so that half a note is seen as none. It outlives SIGTERM, which the job
 * itself receives and answers with a last snapshot.
 */
const wrapper = `trap : TERM INT; note=$1; shift; "$@"; printf '%s\\n' "$?" > "$note"`;

export interface LocalOptions {
  spawner: Spawner;
  warmEngine?: Pick<WarmEngine, 'start'>;
  secret?: SecretReader;
  pySpy?: string;
  /** Jobs run as this user, in folders that are its own. */
  user?: JobUser;
}

/** Jobs of this host, each a detached process group, found again by host, pid and start time. */
export class LocalLauncher implements Launcher {
  readonly name = 'local';
  readonly usesThisHost = true;
  readonly #spawner: Spawner;
  readonly #secret: SecretReader;
  readonly #warm: Pick<WarmEngine, 'start'> | undefined;
  readonly #pySpy: string;
  readonly #user: JobUser | undefined;
  /** Ends of the jobs that this process started: no need to poll for those. */
  readonly #ends = new Map<string, Promise<unknown>>();

  constructor(options: LocalOptions) {
    this.#spawner = options.spawner;
    this.#user = options.user;
    this.#secret = options.secret ?? (() => undefined);
    this.#warm = options.warmEngine;
    this.#pySpy = options.pySpy ?? 'py-spy';
  }

  async start(folder: JobFolder, command: JobCommand): Promise<void> {
    const env = { ...command.env, ...resolveSecrets(command.secrets, this.#secret) };
    const whole = { ...command, env };
    // The warm engine is the worker's own process, and its jobs would be the worker's user's.
    const isWarm = command.runner === 'engine' && this.#user === undefined && command.ranks === 1;
    if (this.#user !== undefined) await handOver(folder.path, this.#user);
    const warm = isWarm ? await this.#warm?.start(folder, whole) : undefined;
    if (warm !== undefined && 'cold' in warm) await writeFile(folder.cold, `${warm.cold}\n`);
    const isForked = warm !== undefined && !('cold' in warm);
    if (!isForked) await this.#spawn(folder, whole);
  }

  async poll(folder: JobFolder): Promise<JobState> {
    const identity = await readIdentity(folder);
    if (identity === undefined || identity.host !== hostname()) return 'unknown';
    return isAlive(identity) ? 'running' : 'ended';
  }

  async wait(folder: JobFolder, timeoutMs: number): Promise<void> {
    const end = this.#ends.get(folder.path);
    if (end !== undefined) {
      const timer = new AbortController();
      await Promise.race([end, sleep(timeoutMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
      timer.abort();
      return;
    }
    await waitByPolling(this, folder, timeoutMs);
  }

  async stop(folder: JobFolder, graceSeconds: number): Promise<void> {
    const identity = await readIdentity(folder);
    if (identity === undefined || !isAlive(identity)) return;
    if (graceSeconds > 0) {
      signalGroup(identity.pid, 'SIGTERM');
      signalGroup(identity.pid, 'SIGCONT'); // a stopped process hears nothing
      await this.wait(folder, graceSeconds * 1000);
    }
    if (!isAlive(identity)) return;
    const all = processTree(identity.pid); // torchrun's ranks are sessions of their own
    signalGroup(identity.pid, 'SIGKILL');
    killAll(all);
    await this.wait(folder, 10_000);
  }

  async dumpStacks(folder: JobFolder): Promise<string> {
    const identity = await readIdentity(folder);
    if (identity === undefined || !isAlive(identity)) return 'the job had ended\n';
    return await dumpStacks(this.#pySpy, processTree(identity.pid));
  }

  async logs(folder: JobFolder): Promise<string[]> {
    return [folder.log];
  }

  async cause(): Promise<undefined> {
    return undefined;
  }

  async #spawn(folder: JobFolder, command: JobCommand): Promise<void> {
    const { ended } = await this.#spawner.start({
      argv: ['/bin/sh', '-c', wrapper, 'fretsaw-job', folder.exit, ...command.argv],
      cwd: command.cwd,
      env: command.env,
      log: folder.log,
      note: folder.process,
      ...(this.#user === undefined ? {} : { user: { uid: this.#user.uid, gid: this.#user.gid } }),
    });
    this.#ends.set(folder.path, ended);
    void ended.then(() => this.#ends.delete(folder.path));
  }
}

async function readIdentity(folder: JobFolder): Promise<ProcessIdentity | undefined> {
  const text = await readText(folder.process);
  return text === undefined ? undefined : (JSON.parse(text) as ProcessIdentity);
}
