import { Client } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { createActivities } from '../activities/index.ts';
import type { Pool } from '../compiler/pool.ts';
import { activityDeps } from './activity-deps.ts';
import { connectWorker } from './connect-worker.ts';
import { dataConverter } from './data-converter.ts';
import { deploymentVersion, versioned } from './deployment.ts';
import { serveHealth } from './health.ts';
import { homePathsAt } from './home.ts';
import { installRuntime } from './worker-runtime.ts';
import { poolQueueOf, type WorkerSettings } from './worker-settings.ts';

export interface PoolWork {
  settings: WorkerSettings;
  pool: Pool;
  env: NodeJS.ProcessEnv;
  /** Aborted to stop: jobs go on, and the next worker of the pool finds them. */
  signal: AbortSignal;
  /** The worker asks for work from now on. */
  onReady: (where: { namespace: string; queue: string }) => void;
}

/**
 * Serves one pool: takes stages from its queue, as many at once as it has slots, and runs their jobs
 * through its launcher. It writes artifacts, snapshots and notes of attempts; records are written by the control queue's
 * workers alone.
 */
export async function runPool({ settings, pool, env, signal, onReady }: PoolWork): Promise<void> {
  installRuntime(env);
  const paths = homePathsAt(settings.home, settings.store);
  const { connection, namespace } = await connectWorker(settings, paths, env);
  const queue = poolQueueOf(settings)(pool.name);
  const { deps, launchers } = await activityDeps({
    settings,
    paths,
    env,
    client: new Client({ connection, namespace, ...dataConverter(env) }),
    pool,
  });
  const { executeStage } = createActivities(deps);
  try {
    const worker = await Worker.create({
      connection,
      namespace,
      ...dataConverter(env),
      taskQueue: queue,
      activities: { executeStage },
      ...versioned(deploymentVersion(settings)),
      maxConcurrentActivityTaskExecutions: pool.slots,
      maxHeartbeatThrottleInterval: 1500,
      shutdownGraceTime: '20s',
    });
    const stop = (): void => {
      if (worker.getState() === 'RUNNING') worker.shutdown();
    };
    signal.addEventListener('abort', stop, { once: true });
    const health = serveHealth(env, () => worker.getState() === 'RUNNING');
    const run = worker.run();
    onReady({ namespace, queue });
    if (signal.aborted) stop();
    await run.finally(() => {
      health.close();
    });
  } finally {
    launchers.close();
    await connection.close();
  }
}
