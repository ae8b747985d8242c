import type { Client } from '@temporalio/client';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';

/**
 * A worker renews its poll every minute; one that has not been seen for longer is gone. (The server
 * forgets it only after five minutes.)
 */
const pollerLifeMs = 75_000;

/** TaskQueueType of Temporal's API: activities. */
const activityQueue = 2 as never; // the enum is of a package that is not ours to import
/** PendingActivityState of Temporal's API: asked for, and taken by no worker. */
const scheduled = 1;

/** Pools that need workers of their own, as stages ask for them. */
export function foreignPools(stages: readonly { pool: string }[], own: ReadonlySet<string>): string[] {
  return [...new Set(stages.map(({ pool }) => pool))].filter((pool) => !own.has(pool)).sort();
}

/** How many workers ask the pool's queue for work now. */
export async function countPollers(client: Client, pool: string): Promise<number> {
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace: client.options.namespace,
    taskQueue: { name: pool },
    taskQueueType: activityQueue,
  });
  const since = Date.now() - pollerLifeMs;
  return pollers.filter(({ lastAccessTime }) => millisecondsOf(lastAccessTime) > since).length;
}

export interface PoolWait {
  pool: string;
  since: Date;
  /** Workers of the pool; none: it waits until one is started. */
  pollers: number;
}

/** A stage at work whose attempt no worker of its pool has taken yet. */
export async function findPoolWait(
  client: Client,
  { key, pool }: { key: StageKey; pool: string },
): Promise<PoolWait | undefined> {
  const { pendingActivities } = await client.workflowService.describeWorkflowExecution({
    namespace: client.options.namespace,
    execution: { workflowId: `stage-${hexOf(key)}` },
  });
  const waiting = pendingActivities.find(
    ({ activityType, state }) => activityType?.name === 'executeStage' && Number(state) === scheduled,
  );
  if (waiting === undefined) return undefined;
  const since = new Date(millisecondsOf(waiting.scheduledTime));
  return { pool, since, pollers: await countPollers(client, pool) };
}

export function describePoolWait({ pool, since, pollers }: PoolWait): string {
  const why = pollers === 0 ? 'nobody serves it' : `${pollers} ${pollers === 1 ? 'worker' : 'workers'}`;
  return `waits for pool ${pool} since ${since.toISOString().slice(0, 19)}Z (${why})`;
}

interface Timestamp {
  seconds?: unknown;
  nanos?: number | null;
}

/** Seconds come as a Long. */
function millisecondsOf(time: Timestamp | null | undefined): number {
  return Number(time?.seconds ?? 0) * 1000 + (time?.nanos ?? 0) / 1e6;
}
