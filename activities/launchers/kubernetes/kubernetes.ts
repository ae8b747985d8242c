import { setTimeout as sleep } from 'node:timers/promises';
import type { KubernetesSettings } from '../../../compiler/pool.ts';
import { Failure } from '../../../core/errors.ts';
import { exists, writeWhole, type JobFolder } from '../../job-folder.ts';
import type { JobCause, JobCommand, JobState, Launcher } from '../launcher.ts';
import { listRankLogs } from '../rank-logs.ts';
import type { Cluster, ClusterJob, ClusterPod } from './cluster.ts';
import { jobObject } from './job-object.ts';

export interface KubernetesLauncherOptions {
  cluster: Cluster;
  settings: KubernetesSettings;
  python: string;
  home: string;
}

/** Pods get so long for a last snapshot, whoever stops them. */
const graceSeconds = 60;
const endTimeoutMs = 120_000;

/**
 * Jobs of a Kubernetes cluster, whose claim holds the home at the worker's path. An attempt's object is known by its name. Whether it is
 * at work is asked of the cluster; whether it succeeded never is.
 */
export class KubernetesLauncher implements Launcher {
  readonly name = 'kubernetes';
  readonly usesThisHost = false;
  readonly #options: KubernetesLauncherOptions;

  constructor(options: KubernetesLauncherOptions) {
    this.#options = options;
  }

  async start(folder: JobFolder, command: JobCommand): Promise<void> {
    const { cluster, settings, python, home } = this.#options;
    const name = nameOf(folder);
    const object = jobObject(folder, command, { settings, name, python, home, graceSeconds });
    await writeWhole(folder.object, object);
    await cluster.create(object);
  }

  async poll(folder: JobFolder): Promise<JobState> {
    const jobs = await this.#options.cluster.jobs();
    const hasEnded = (await exists(folder.exit)) || (await exists(folder.done));
    if (jobs === undefined) return hasEnded ? 'ended' : 'running';
    const job = jobs.get(nameOf(folder));
    if (job === undefined) return hasEnded || (await exists(folder.object)) ? 'ended' : 'unknown';
    if (job.ended !== undefined) return 'ended';
    return (await wasPreempted(job, folder)) ? 'ended' : 'running';
  }

  async wait(folder: JobFolder, timeoutMs: number): Promise<void> {
    const until = Date.now() + timeoutMs;
    while (Date.now() < until && (await this.poll(folder)) === 'running')
      await sleep(Math.min(250, timeoutMs));
  }

  async stop(folder: JobFolder, grace: number): Promise<void> {
    const { cluster } = this.#options;
    const job = await this.#find(folder);
    if (job === undefined) return;
    await cluster.remove(job, grace);
    for (const until = Date.now() + grace * 1000 + endTimeoutMs; (await cluster.pods(job.name)).length > 0;) {
      if (Date.now() > until)
        throw new Failure('NODE_LOST', `pods of ${job.name} do not end: their node may be lost`);
      await sleep(250);
    }
  }

  /** What the pods wrote, then one file for each rank. */
  async logs(folder: JobFolder): Promise<string[]> {
    return [folder.log, ...(await listRankLogs(folder))];
  }

  async cause(folder: JobFolder): Promise<JobCause | undefined> {
    const { cluster } = this.#options;
    const job = (await cluster.jobs())?.get(nameOf(folder));
    if (job === undefined) return undefined;
    if (await wasPreempted(job, folder))
      return { code: 'PREEMPTED', message: `${job.name}: suspended by its queue` };
    const pods = await cluster.pods(job.name).catch(() => []);
    const known = pods.map(causeOfPod).find((cause) => cause !== undefined);
    if (known !== undefined) return known;
    const isLate = job.ended?.reason === 'DeadlineExceeded';
    return isLate ? { code: 'TIMEOUT', message: `${job.name}: ${job.ended?.message ?? ''}` } : undefined;
  }

  async #find(folder: JobFolder): Promise<ClusterJob | undefined> {
    const jobs = await this.#options.cluster.jobs();
    if (jobs === undefined) throw new Failure('NODE_LOST', 'the Kubernetes API server does not answer');
    return jobs.get(nameOf(folder));
  }
}

/** Kueue takes a job's place by suspending it; one that has never begun still waits for its first. */
async function wasPreempted({ isSuspended }: ClusterJob, folder: JobFolder): Promise<boolean> {
  return isSuspended && (await exists(folder.began));
}

function causeOfPod({ name, disruption, isOutOfMemory }: ClusterPod): JobCause | undefined {
  if (disruption === undefined)
    return isOutOfMemory ? { code: 'OUT_OF_MEMORY', message: `${name}: OOMKilled` } : undefined;
  const { reason, message } = disruption;
  const isLost = reason === 'DeletionByTaintManager' || reason === 'DeletionByPodGC';
  return { code: isLost ? 'NODE_LOST' : 'PREEMPTED', message: `${name}: ${reason} ${message}`.trim() };
}

/** Unique to the attempt: key and number are the two last parts of its folder. */
function nameOf(folder: JobFolder): string {
  const key = folder.path.split('/').at(-2) ?? '';
  return `fretsaw-${key.slice(0, 16)}-${folder.attempt}`;
}
