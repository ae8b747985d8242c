import { writeFile } from 'node:fs/promises';
import type { SlurmSettings } from '../../../compiler/pool.ts';
import { Failure } from '../../../core/errors.ts';
import { readText, writeWhole, type JobFolder } from '../../job-folder.ts';
import type { JobCause, JobCommand, JobState, Launcher } from '../launcher.ts';
import { handOver, type JobUser } from '../job-user.ts';
import { listLogs } from '../rank-logs.ts';
import { attemptName, hasEnded, waitByPolling } from '../scheduled-job.ts';
import { resolveSecrets, type SecretReader } from '../secrets.ts';
import { jobScript } from './job-script.ts';
import type { SlurmClient } from './slurm-client.ts';
import { causeOf, isActive, type SlurmJob } from './slurm-state.ts';

export interface SlurmLauncherOptions {
  client: SlurmClient;
  settings: SlurmSettings;
  python: string;
  paths: readonly string[];
  secret: SecretReader;
  /** Whose jobs they are, as the client submits them. */
  user?: JobUser;
}

/** What is noted of a job; by its name it is found again when the note was never written. */
interface SlurmNote {
  launcher: 'slurm';
  job: string;
}

/** A controller that is told to end a job does so within its KillWait. */
const endTimeoutMs = 120_000;

/**
 * Jobs of a Slurm cluster. Its folder must lie at one path on all nodes. Whether a job is at work is asked of the
 * scheduler; whether it succeeded never is: a preempted job that ended in its grace time counts as COMPLETED there.
 */
export class SlurmLauncher implements Launcher {
  readonly name = 'slurm';
  readonly usesThisHost = false;
  readonly #options: SlurmLauncherOptions;

  constructor(options: SlurmLauncherOptions) {
    this.#options = options;
  }

  async start(folder: JobFolder, command: JobCommand): Promise<void> {
    const { client, settings, python, paths, secret, user } = this.#options;
    const name = attemptName(folder);
    const script = jobScript(folder, command, { settings, name, python, paths });
    await writeFile(folder.script, script, { mode: 0o755 });
    if (user !== undefined) await handOver(folder.path, user);
    const job = await client.submit(folder.script, resolveSecrets(command.secrets, secret));
    await writeWhole(folder.process, { launcher: 'slurm', job } satisfies SlurmNote);
  }

  async poll(folder: JobFolder): Promise<JobState> {
    const queue = await this.#options.client.queue();
    const noted = await readNote(folder);
    if (queue === undefined) return (await hasEnded(folder)) ? 'ended' : 'running';
    const job = noted === undefined ? byName(queue, attemptName(folder)) : queue.get(noted.job);
    if (job === undefined) return noted === undefined ? 'unknown' : 'ended';
    // A node that was lost may stay in COMPLETING for long.
    if (job.state === 'COMPLETING' && (await hasEnded(folder))) return 'ended';
    return isActive(job) ? 'running' : 'ended';
  }

  wait(folder: JobFolder, timeoutMs: number): Promise<void> {
    return waitByPolling(this, folder, timeoutMs);
  }

  async stop(folder: JobFolder, graceSeconds: number): Promise<void> {
    const { client } = this.#options;
    const job = await this.#find(folder);
    if (job === undefined || !isActive(job)) return;
    if (graceSeconds === 0) await client.kill(job.id);
    else if (job.state === 'PENDING') await client.cancel(job.id);
    else {
      await client.terminate(job.id);
      await this.wait(folder, graceSeconds * 1000);
      if ((await this.poll(folder)) === 'running') await client.cancel(job.id);
    }
    await this.wait(folder, endTimeoutMs);
    if ((await this.poll(folder)) !== 'running') return;
    throw new Failure('NODE_LOST', `Slurm job ${job.id} does not end: its node may be lost`);
  }

  logs(folder: JobFolder): Promise<string[]> {
    return listLogs(folder);
  }

  async cause(folder: JobFolder): Promise<JobCause | undefined> {
    const note = await readNote(folder);
    const job = note === undefined ? undefined : await this.#options.client.explain(note.job);
    return job === undefined ? undefined : causeOf(job);
  }

  async #find(folder: JobFolder): Promise<SlurmJob | undefined> {
    const note = await readNote(folder);
    const queue = await this.#options.client.queue();
    if (queue === undefined) throw new Failure('NODE_LOST', 'the Slurm controller does not answer');
    return note === undefined ? byName(queue, attemptName(folder)) : queue.get(note.job);
  }
}

function byName(queue: ReadonlyMap<string, SlurmJob>, name: string): SlurmJob | undefined {
  return [...queue.values()].findLast((job) => job.name === name);
}

async function readNote(folder: JobFolder): Promise<SlurmNote | undefined> {
  const text = await readText(folder.process);
  const note = text === undefined ? undefined : (JSON.parse(text) as Partial<SlurmNote>);
  return note?.launcher === 'slurm' && note.job !== undefined
    ? { launcher: 'slurm', job: note.job }
    : undefined;
}
