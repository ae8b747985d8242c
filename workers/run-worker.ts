import { Client } from '@temporalio/client';
import {
  DefaultLogger,
  NativeConnection,
  Runtime,
  Worker,
  makeTelemetryFilterString,
  type NativeConnectionOptions,
} from '@temporalio/worker';
import { cpus, hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createActivities, type Activities } from '../activities/index.ts';
import { CpuSlots } from '../activities/cpu-slots.ts';
import { LocalLauncher } from '../activities/launchers/local.ts';
import { sha256Text } from '../store/sha256.ts';
import { namedCluster } from './cluster.ts';
import { findServer } from './embedded-server.ts';
import { homePaths, openHomeStore, type HomePaths } from './home.ts';
import { jobEnvironment, secretReader } from './job-environment.ts';
import { kindVersions } from '../activities/kind-versions.ts';
import { Spawner } from '../activities/launchers/spawner.ts';
import { TorchrunLauncher } from '../activities/launchers/torchrun.ts';
import { WarmEngine } from '../activities/launchers/warm-engine.ts';
import { notifierOf } from './notifier.ts';
import { prepareNamespace } from './prepare-namespace.ts';
import { watchClients } from './watch-clients.ts';
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
  Runtime.install({
    logger: new DefaultLogger('WARN'),
    telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) } },
    shutdownSignals: [],
  });
  const paths = homePaths({ FRETSAW_HOME: settings.home }, '/');
  const { connection, namespace } = await connectWorker(settings, paths, env);
  if (settings.isEmbedded) await prepareNamespace(connection, namespace);
  const queues = taskQueuesOf(settings);
  const warmEngine = new WarmEngine({
    python: programPaths.python(settings.root),
    env: { ...jobEnvironment(env), PYTHONPATH: programPaths.engine(settings.root), OMP_NUM_THREADS: '1' },
    log: join(paths.worker, 'zygote.log'),
  });
  const spawner = new Spawner(programPaths.spawner(settings.root));
  const activities = activitiesOf({
    settings,
    spawner,
    warmEngine,
    paths,
    env,
    client: new Client({ connection, namespace }),
  });
  const shared = {
    connection,
    namespace,
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
  warmEngine.close();
  spawner.close();
  await connection.close();
}

interface ActivityInputs {
  spawner: Spawner;
  warmEngine: WarmEngine;
  settings: WorkerSettings;
  paths: HomePaths;
  env: NodeJS.ProcessEnv;
  client: Client;
}

function activitiesOf({ settings, spawner, warmEngine, paths, env, client }: ActivityInputs): Activities {
  const local = new LocalLauncher({ spawner, warmEngine, pySpy: programPaths.pySpy(settings.root) });
  return createActivities({
    store: openHomeStore(paths.root),
    home: { work: paths.work, downloads: paths.downloads },
    client,
    queues: taskQueuesOf(settings),
    poolQueue: poolQueueOf(settings),
    host: hostname(),
    pid: process.pid,
    ...kindVersions(settings.root),
    tools: { node: process.versions.node },
    launchers: { local, torchrun: new TorchrunLauncher(local, programPaths.python(settings.root)) },
    programs: {
      python: programPaths.python(settings.root),
      engine: programPaths.engine(settings.root),
      node: process.execPath,
      job: programPaths.job(settings.root),
      env: jobEnvironment(env),
    },
    cpuSlots: new CpuSlots(cpus().length),
    keepJobFiles: env['FRETSAW_KEEP_JOB_FILES'] === '1',
    sha256: sha256Text,
    ...notifierOf(env),
    secret: secretReader(env),
  });
}

interface WorkerConnection {
  connection: NativeConnection;
  namespace: string;
}

/** Waits for the server of this home, which is being started beside this process. */
async function connectWorker(
  settings: WorkerSettings,
  paths: HomePaths,
  env: NodeJS.ProcessEnv,
): Promise<WorkerConnection> {
  const named = settings.isEmbedded ? undefined : namedCluster(env);
  const namespace = named?.namespace ?? 'default';
  for (let tries = 0; ; tries++) {
    const options: NativeConnectionOptions | undefined = named?.connectionOptions ?? embeddedOptions(paths);
    try {
      if (options === undefined) throw new Error(`no server at ${paths.temporal}`);
      const connection = await NativeConnection.connect(options);
      await connection.workflowService.describeNamespace({ namespace });
      return { connection, namespace };
    } catch (error) {
      if (tries > 300) throw error;
      await sleep(100);
    }
  }
}

function embeddedOptions(paths: HomePaths): NativeConnectionOptions | undefined {
  const server = findServer(paths.temporal);
  return server === undefined ? undefined : { address: `127.0.0.1:${server.port}` };
}
