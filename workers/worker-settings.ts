import { join } from 'node:path';
import type { TaskQueues } from '../activities/run-request.ts';

/** What the command line tells the worker process that it starts: one JSON argument. */
export interface WorkerSettings {
  home: string;
  /** What FRETSAW_STORE says; absent for the store in the home itself. */
  store?: string;
  /** The folder that holds dist/, engine/ and .venv/. */
  root: string;
  /** True: the server of this home, found by its file. False: the cluster that the environment names. */
  isEmbedded: boolean;
  /** Suffix of all task queues, so that homes that share a cluster do not take each other's work. */
  queueSuffix: string;
  /** True: a fleet's control workers serve the control queue, and this home has no worker of its own. */
  isShared?: boolean;
}

/** The queue of this host's own pool. */
export const localPool = 'local';

const hostPools: ReadonlySet<string> = new Set(['default', localPool]);

/** Pool names that a home serves without being told to; a fleet has workers for each of its pools. */
export function ownPoolsOf({ isShared }: Pick<WorkerSettings, 'isShared'>): ReadonlySet<string> {
  return isShared === true ? new Set() : hostPools;
}

/** Whether the environment says that the cluster's own control workers are to be used. */
export function isFleet(env: NodeJS.ProcessEnv): boolean {
  return env['FRETSAW_CONTROL'] === 'shared';
}

/**
 * On the server of one home, one queue for everything: a workflow's own activities are then handed to
 * it with the answer to its last task, without the way round by the queue.
 */
export function taskQueuesOf({ queueSuffix, isEmbedded }: Queueing): TaskQueues {
  const control = `control${queueSuffix}`;
  return { control, waiters: isEmbedded ? control : `waiters${queueSuffix}` };
}

/** A pool's queue is the pool's name; this host's own pool belongs to one home. */
export function poolQueueOf(settings: Queueing): (pool: string) => string {
  const hosts = ownPoolsOf(settings);
  const own = settings.isEmbedded ? taskQueuesOf(settings).control : `${localPool}${settings.queueSuffix}`;
  return (pool) => (hosts.has(pool) ? own : pool);
}

type Queueing = Pick<WorkerSettings, 'queueSuffix' | 'isEmbedded' | 'isShared'>;

export const programPaths = {
  python: (root: string): string => join(root, '.venv', 'bin', 'python'),
  pySpy: (root: string): string => join(root, '.venv', 'bin', 'py-spy'),
  temporal: (root: string): string => join(root, '.venv', 'bin', 'temporal'),
  engine: (root: string): string => join(root, 'engine', 'src'),
  worker: (root: string): string => join(root, 'dist', 'worker.js'),
  workflows: (root: string): string => join(root, 'dist', 'workflows.js'),
  spawner: (root: string): string => join(root, 'dist', 'spawner.js'),
  job: (root: string): string => join(root, 'dist', 'job.js'),
  build: (root: string): string => join(root, 'dist', 'build.json'),
};
