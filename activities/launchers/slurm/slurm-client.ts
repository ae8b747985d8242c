import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Failure } from '../../../core/errors.ts';
import type { JobUser } from '../job-user.ts';
import { sharedLook } from '../scheduled-job.ts';
import { parseAccounting, parseQueue, parseShown, type SlurmJob } from './slurm-state.ts';

const run = promisify(execFile);
const commandTimeoutMs = 60_000;

export interface SlurmClientOptions {
  /** What Slurm's programs see: PATH, HOME, SLURM_CONF. */
  env: Readonly<Record<string, string>>;
  /** Shortest time between two looks at the queue. */
  pollMs: number;
  /** Whose jobs they are; absent: this process's user. */
  user?: JobUser;
}

/** The few calls to Slurm's programs. All jobs of a worker are looked at in one call, however many ask. */
export class SlurmClient {
  readonly #options: SlurmClientOptions;
  readonly #jobs: ReturnType<typeof sharedLook<ReadonlyMap<string, SlurmJob> | undefined>>;

  constructor(options: SlurmClientOptions) {
    this.#options = options;
    this.#jobs = sharedLook(() => this.#look(), options.pollMs);
  }

  /** `secrets` reach the job through sbatch's own environment, and no file. */
  async submit(script: string, secrets: Readonly<Record<string, string>>): Promise<string> {
    const text = await this.#run('sbatch', ['--parsable', '--export=ALL', script], secrets);
    this.#jobs.forget();
    // `id` or `id;cluster`.
    const id = text.trim().split(';')[0] ?? '';
    if (/^\d+$/.test(id)) return id;
    throw new Failure('NODE_LOST', `sbatch: expected a job id, found ${JSON.stringify(text)}`);
  }

  /**
   * All jobs that the controller has in mind, ended ones too for a while (MinJobAge). Undefined when it does not answer: then nothing
   * is known, which is no reason to give a job up.
   */
  queue(): Promise<ReadonlyMap<string, SlurmJob> | undefined> {
    return this.#jobs.get();
  }

  /** What is known of a job that the queue has or had: the controller's memory first, then accounting where there is one. */
  async explain(id: string): Promise<SlurmJob | undefined> {
    const shown = await this.#try('scontrol', ['show', 'job', id, '--oneliner']);
    const found = shown === undefined ? undefined : parseShown(id, shown);
    if (found !== undefined) return found;
    const fields = ['--noheader', '--parsable2', '--format=JobID,JobName,State', `--jobs=${id}`];
    for (const source of [['--allocations'], ['--completion']]) {
      const text = await this.#try('sacct', [...source, ...fields]);
      const job = text === undefined ? undefined : parseAccounting(id, text);
      if (job !== undefined) return job;
    }
    return undefined;
  }

  /** SIGTERM to the job's steps: the script itself stays, to note how they ended. */
  async terminate(id: string): Promise<void> {
    await this.#try('scancel', ['--signal=TERM', id]);
  }

  async cancel(id: string): Promise<void> {
    await this.#try('scancel', [id]);
    this.#jobs.forget();
  }

  async kill(id: string): Promise<void> {
    await this.#try('scancel', ['--signal=KILL', '--full', id]);
    await this.cancel(id);
  }

  async #look(): Promise<ReadonlyMap<string, SlurmJob> | undefined> {
    const mine = this.#options.user === undefined ? ['--me'] : [`--user=${this.#options.user.name}`];
    const text = await this.#try('squeue', ['--noheader', '--states=all', ...mine, '--format=%i|%T|%r|%j']);
    return text === undefined ? undefined : new Map(parseQueue(text).map((job) => [job.id, job]));
  }

  async #try(program: string, args: string[]): Promise<string | undefined> {
    try {
      return await this.#run(program, args);
    } catch {
      return undefined;
    }
  }

  async #run(program: string, args: string[], more: Readonly<Record<string, string>> = {}): Promise<string> {
    const { env, user } = this.#options;
    const options = { env: { ...env, ...more }, timeout: commandTimeoutMs, maxBuffer: 1 << 26 };
    const as = user === undefined ? {} : { uid: user.uid, gid: user.gid };
    try {
      const { stdout } = await run(program, args, { ...options, ...as });
      return stdout;
    } catch (cause) {
      const stderr = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
      throw new Failure('NODE_LOST', `${program}: ${stderr || String(cause)}`, { cause });
    }
  }
}
