import type { WorkerDeploymentVersion } from '@temporalio/common';
import type { NativeConnection, WorkerOptions } from '@temporalio/worker';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../core/errors.ts';
import { programPaths, type WorkerSettings } from './worker-settings.ts';

/** The name under which Temporal knows the versions of a fleet's workers. */
export const deploymentName = 'fretsaw';
const buildIdLength = 16;
const promoteTimeoutMs = 60_000;

/**
 * The version of this build, for workers of a fleet that share their control queue. A home's own worker has none: there is one build
 * at a time in a home, and a run that its command line left goes on with the next.
 */
export function deploymentVersion({ isShared, root }: WorkerSettings): WorkerDeploymentVersion | undefined {
  if (isShared !== true) return undefined;
  const { build } = JSON.parse(readFileSync(programPaths.build(root), 'utf8')) as { build: string };
  return { deploymentName, buildId: build.slice(0, buildIdLength) };
}

/** PINNED: what was started on a version is worked on by workers of that version alone, jobs in pools included. */
export function versioned(
  version: WorkerDeploymentVersion | undefined,
): Pick<WorkerOptions, 'workerDeploymentOptions'> {
  if (version === undefined) return {};
  return {
    workerDeploymentOptions: { useWorkerVersioning: true, version, defaultVersioningBehavior: 'PINNED' },
  };
}

interface Where {
  connection: NativeConnection;
  namespace: string;
}

/** Undefined: no version is current yet, or Temporal does not know the deployment. */
export async function currentBuild({ connection, namespace }: Where): Promise<string | undefined> {
  try {
    const { workerDeploymentInfo } = await connection.workflowService.describeWorkerDeployment({
      namespace,
      deploymentName,
    });
    return workerDeploymentInfo?.routingConfig?.currentDeploymentVersion?.buildId ?? undefined;
  } catch {
    return undefined;
  }
}

/** New runs start on this version from now on. Temporal knows a version once a worker of it has asked for work. */
export async function promote(where: Where, { buildId }: WorkerDeploymentVersion): Promise<void> {
  const { connection, namespace } = where;
  for (const until = Date.now() + promoteTimeoutMs; ;) {
    try {
      await connection.workflowService.setWorkerDeploymentCurrentVersion({
        namespace,
        deploymentName,
        buildId,
        // A pool whose new workers are not up yet is no reason to wait.
        ignoreMissingTaskQueues: true,
      });
      return;
    } catch (cause) {
      if (Date.now() > until)
        throw new Failure('NOT_FOUND', `no worker of build ${buildId} is at work: ${String(cause)}`, {
          cause,
        });
      await sleep(500);
    }
  }
}
