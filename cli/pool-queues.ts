import type { Client } from '@temporalio/client';

/**
 * A worker renews its poll every minute; one that has not been seen for longer is gone. (The server
 * forgets it only after five minutes.)
 */
const pollerLifeMs = 75_000;

/** TaskQueueType of Temporal's API: activities. */
const activityQueue = 2 as never; // the enum is of a package that is not ours to import

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

/** A stage whose attempt no worker of its pool has taken yet. */
export interface PoolWait {
  pool: string;
  since: Date;
  /** Workers of the pool; none: it waits until one is started. */
  pollers: number;
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
export function millisecondsOf(time: Timestamp | null | undefined): number {
  return Number(time?.seconds ?? 0) * 1000 + (time?.nanos ?? 0) / 1e6;
}
