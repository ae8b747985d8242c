import { setTimeout as sleep } from 'node:timers/promises';
import type { KubernetesSettings } from '../../../compiler/pool.ts';
import { Failure } from '../../../core/errors.ts';
import { exists, writeWhole, type JobFolder } from '../../job-folder.ts';
import type { JobCause, JobCommand, JobState, Launcher } from '../launcher.ts';
import { listLogs } from '../rank-logs.ts';
import { attemptName, hasEnded, waitByPolling } from '../scheduled-job.ts';
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
    const name = attemptName(folder);
    const object = jobObject(folder, command, { settings, name, python, home, graceSeconds });
    await writeWhole(folder.object, object);
    await cluster.create(object);
  }

  async poll(folder: JobFolder): Promise<JobState> {
    const jobs = await this.#options.cluster.jobs();
    const saysEnded = await hasEnded(folder);
    if (jobs === undefined) return saysEnded ? 'ended' : 'running';
    const job = jobs.get(attemptName(folder));
    if (job === undefined) return saysEnded || (await exists(folder.object)) ? 'ended' : 'unknown';
    if (job.ended !== undefined) return 'ended';
    return (await wasPreempted(job, folder)) ? 'ended' : 'running';
  }

  wait(folder: JobFolder, timeoutMs: number): Promise<void> {
    return waitByPolling(this, folder, timeoutMs);
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

  logs(folder: JobFolder): Promise<string[]> {
    return listLogs(folder);
  }

  async cause(folder: JobFolder): Promise<JobCause | undefined> {
    const { cluster } = this.#options;
    const job = (await cluster.jobs())?.get(attemptName(folder));
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
    return jobs.get(attemptName(folder));
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
