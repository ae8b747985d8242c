import { Client } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { createActivities } from '../activities/index.ts';
import { activityDeps } from './activity-deps.ts';
import { connectWorker } from './connect-worker.ts';
import { dataConverter } from './data-converter.ts';
import { homePathsAt } from './home.ts';
import { prepareNamespace } from './prepare-namespace.ts';
import { addSearchAttributes } from './search-attributes.ts';
import { watchClients } from './watch-clients.ts';
import { installRuntime } from './worker-runtime.ts';
import {
  localPool,
  poolQueueOf,
  programPaths,
  taskQueuesOf,
  type WorkerSettings,
} from './worker-settings.ts';

/** Stages of this home in flight at once; jobs among them wait for CPUs of their own. */
const localSlots = 64;
/** Waiting for a shared stage costs a promise and a timer. */
const waiterSlots = 2000;

/** The worker of this host: workflows, records and look-ups, waiting, and the jobs of pool `local`. */
export async function runWorker(settings: WorkerSettings, env: NodeJS.ProcessEnv): Promise<void> {
  installRuntime(env);
  const paths = homePathsAt(settings.home, settings.store);
  const { connection, namespace } = await connectWorker(settings, paths, env);
  if (settings.isEmbedded) {
    await prepareNamespace(connection, namespace);
    await addSearchAttributes(connection, namespace);
  }
  const queues = taskQueuesOf(settings);
  const { deps, launchers } = await activityDeps({
    settings,
    paths,
    env,
    client: new Client({ connection, namespace, ...dataConverter(env) }),
  });
  const activities = createActivities(deps);
  const shared = {
    connection,
    namespace,
    ...dataConverter(env),
    activities,
    maxHeartbeatThrottleInterval: 1500,
    shutdownGraceTime: '20s' as const,
  };
  const control = {
    ...shared,
    taskQueue: queues.control,
    workflowBundle: { codePath: programPaths.workflows(settings.root) },
    maxConcurrentLocalActivityExecutions: 8,
    maxConcurrentActivityTaskExecutions: settings.isEmbedded ? waiterSlots : localSlots,
    maxEagerActivityReservationsPerWorkflowTask: 8,
  };
  const others = settings.isEmbedded
    ? []
    : [
        { ...shared, taskQueue: queues.waiters, maxConcurrentActivityTaskExecutions: waiterSlots },
        {
          ...shared,
          taskQueue: poolQueueOf(settings)(localPool),
          maxConcurrentActivityTaskExecutions: localSlots,
        },
      ];
  const workers = await Promise.all([control, ...others].map((options) => Worker.create(options)));
  const stop = (): void => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', () => undefined);
  const watch = watchClients(paths, {
    isBusy: () => workers.some((w) => w.getStatus().numInFlightActivities > 0),
    stop,
    isEmbedded: settings.isEmbedded,
  });
  await Promise.all(workers.map((worker) => worker.run()));
  watch.close();
  launchers.close();
  await connection.close();
}
