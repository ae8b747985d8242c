import { Client } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { createActivities } from '../activities/index.ts';
import { activityDeps } from './activity-deps.ts';
import { connectWorker } from './connect-worker.ts';
import { dataConverter } from './data-converter.ts';
import { currentBuild, deploymentVersion, promote, versioned } from './deployment.ts';
import { serveHealth } from './health.ts';
import { homePathsAt } from './home.ts';
import { installRuntime } from './worker-runtime.ts';
import { programPaths, taskQueuesOf, type WorkerSettings } from './worker-settings.ts';

export interface ControlWork {
  settings: WorkerSettings;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
  onReady: (where: { namespace: string; queue: string; buildId: string; isCurrent: boolean }) => void;
}

/** Waiting for a shared stage costs a promise and a timer. */
const waiterSlots = 2000;

/**
 * The control worker of a fleet: decides, looks records up and writes them, for all runs of its version. It runs no jobs. The first version
 * that a fleet has becomes current by itself; every later one by `promote`.
 */
export async function runControl({ settings, env, signal, onReady }: ControlWork): Promise<void> {
  installRuntime(env);
  const paths = homePathsAt(settings.home, settings.store);
  const where = await connectWorker(settings, paths, env);
  const queues = taskQueuesOf(settings);
  const version = deploymentVersion(settings);
  if (version === undefined) throw new Error('bug: a control worker of no fleet');
  const { deps, launchers } = await activityDeps({
    settings,
    paths,
    env,
    client: new Client({ ...where, ...dataConverter(env) }),
  });
  const shared = {
    ...where,
    ...dataConverter(env),
    ...versioned(version),
    activities: createActivities(deps),
    maxHeartbeatThrottleInterval: 1500,
    shutdownGraceTime: '20s' as const,
  };
  const control = {
    ...shared,
    taskQueue: queues.control,
    workflowBundle: { codePath: programPaths.workflows(settings.root) },
    maxConcurrentLocalActivityExecutions: 8,
  };
  const waiters = { ...shared, taskQueue: queues.waiters, maxConcurrentActivityTaskExecutions: waiterSlots };
  try {
    const workers = await Promise.all([control, waiters].map((options) => Worker.create(options)));
    const stop = (): void => {
      for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
    };
    signal.addEventListener('abort', stop, { once: true });
    const health = serveHealth(env, () => workers.every((worker) => worker.getState() === 'RUNNING'));
    const ended = Promise.all(workers.map((worker) => worker.run())).finally(() => {
      health.close();
    });
    if ((await currentBuild(where)) === undefined) await promote(where, version);
    const isCurrent = (await currentBuild(where)) === version.buildId;
    onReady({ namespace: where.namespace, queue: queues.control, buildId: version.buildId, isCurrent });
    if (signal.aborted) stop();
    await ended;
  } finally {
    launchers.close();
    await where.connection.close();
  }
}

/** Makes this build the one that new runs start on. */
export async function promoteBuild(settings: WorkerSettings, env: NodeJS.ProcessEnv): Promise<string> {
  installRuntime(env);
  const where = await connectWorker(settings, homePathsAt(settings.home, settings.store), env);
  const version = deploymentVersion(settings);
  if (version === undefined) throw new Error('bug: a build of no fleet');
  try {
    await promote(where, version);
    return version.buildId;
  } finally {
    await where.connection.close();
  }
}
