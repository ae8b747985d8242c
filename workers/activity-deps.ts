import type { Client } from '@temporalio/client';
import { cpus, hostname } from 'node:os';
import { join } from 'node:path';
import { CpuSlots } from '../activities/cpu-slots.ts';
import type { ActivityDeps } from '../activities/deps.ts';
import { kindVersions } from '../activities/kind-versions.ts';
import { StageMetrics } from '../activities/metrics.ts';
import type { Pool } from '../compiler/pool.ts';
import { sha256Text } from '../store/sha256.ts';
import { deploymentVersion } from './deployment.ts';
import { findUser } from './find-user.ts';
import { openHomeStore, type HomePaths } from './home.ts';
import { jobEnvironment, secretReader } from './job-environment.ts';
import { temporalMeter } from './meter.ts';
import { notifierOf } from './notifier.ts';
import { openLaunchers, type Launchers } from './launchers.ts';
import { isMeasured } from './worker-runtime.ts';
import { poolQueueOf, programPaths, taskQueuesOf, type WorkerSettings } from './worker-settings.ts';

export interface WorkerInputs {
  settings: WorkerSettings;
  paths: HomePaths;
  env: NodeJS.ProcessEnv;
  client: Client;
  /** The pool that this worker serves; absent for a home's own. */
  pool?: Pool;
}

/** What the activities of one worker are given, and what is to be closed after them. */
export async function activityDeps(
  inputs: WorkerInputs,
): Promise<{ deps: ActivityDeps; launchers: Launchers }> {
  const { settings, paths, env, client, pool } = inputs;
  const jobEnv = { ...jobEnvironment(env, pool?.jobs.env), ...userEnvironment(pool) };
  const secret = secretReader(env);
  const launchers = await openLaunchers({
    root: settings.root,
    log: join(paths.worker, 'zygote.log'),
    jobEnv,
    env,
    secret,
    home: paths.root,
    ...(pool === undefined ? {} : { pool }),
  });
  const root = pool?.installation ?? settings.root;
  const version = deploymentVersion(settings);
  const deps: ActivityDeps = {
    store: openHomeStore(paths),
    home: { work: paths.work, downloads: paths.downloads },
    client,
    queues: taskQueuesOf(settings),
    poolQueue: poolQueueOf(settings),
    ...(version === undefined ? {} : { version }),
    host: hostname(),
    pid: process.pid,
    ...kindVersions(settings.root),
    tools: { node: process.versions.node },
    launcherFor: launchers.launcherFor,
    programs: {
      python: programPaths.python(root),
      engine: programPaths.engine(root),
      node: pool?.installation === undefined ? process.execPath : 'node',
      job: programPaths.job(root),
      env: jobEnv,
    },
    cpuSlots: new CpuSlots(cpus().length),
    keepJobFiles: env['FRETSAW_KEEP_JOB_FILES'] === '1',
    sha256: sha256Text,
    metrics: new StageMetrics(isMeasured(env) ? temporalMeter() : undefined),
    ...notifierOf(env),
    secret,
    ...(pool?.allow === undefined ? {} : { allow: pool.allow }),
  };
  return { deps, launchers };
}

/** Another user's jobs have its home, not the worker's. */
function userEnvironment(pool: Pool | undefined): Record<string, string> {
  if (pool?.jobs.user === undefined) return {};
  const { name, home } = findUser(pool.jobs.user);
  return { HOME: home, USER: name };
}
