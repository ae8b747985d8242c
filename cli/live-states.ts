import type { Client } from '@temporalio/client';
import { findServer } from '../workers/embedded-server.ts';
import type { HomePaths } from '../workers/home.ts';
import type { RunChanges, StageState } from '../workflows/index.ts';
import type { StageKey } from '../core/keys.ts';
import type { Invocation } from './command.ts';
import type { PoolWait } from './pool-queues.ts';

/** Runs that have not ended, as Temporal sees them; asked only when a server is there to answer. */
export interface LiveRuns {
  isRunning(run: string): Promise<boolean>;
  /** Undefined when the run is not at work. */
  states(run: string): Promise<ReadonlyMap<string, StageState> | undefined>;
  /** Workers that serve a pool; undefined when no server is there to ask. */
  pollers(pool: string): Promise<number | undefined>;
  /** Since when a stage at work waits for a worker of its pool, if it does. */
  wait(stage: { key: StageKey; pool: string }): Promise<PoolWait | undefined>;
  close(): Promise<void>;
}

const nobody: LiveRuns = {
  isRunning: () => Promise.resolve(false),
  states: () => Promise.resolve(undefined),
  pollers: () => Promise.resolve(undefined),
  wait: () => Promise.resolve(undefined),
  close: () => Promise.resolve(),
};

/** A client of the server that runs are on now; undefined when none answers. */
export async function liveClient({ env }: Invocation, paths: HomePaths): Promise<Client | undefined> {
  const server = findServer(paths.temporal);
  const { namedCluster } = await import('../workers/cluster.ts');
  const isNamed = namedCluster(env) !== undefined;
  if (server === undefined && !isNamed) return undefined;
  const { connectClient } = await import('./temporal-client.ts');
  return await connectClient(env, isNamed ? undefined : server?.port, 2).catch(() => undefined);
}

export async function liveRuns(invocation: Invocation, paths: HomePaths): Promise<LiveRuns> {
  const client = await liveClient(invocation, paths);
  if (client === undefined) return nobody;
  const { countPollers, findPoolWait } = await import('./pool-queues.ts');
  const isRunning = async (run: string): Promise<boolean> => {
    const description = await client.workflow
      .getHandle(`run-${run}`)
      .describe()
      .catch(() => undefined);
    return description?.status.name === 'RUNNING';
  };
  return {
    isRunning,
    states: async (run) => {
      if (!(await isRunning(run))) return undefined;
      const changes = await client.workflow
        .getHandle(`run-${run}`)
        .query<RunChanges, [number]>('changes', 0)
        .catch(() => undefined);
      return changes === undefined ? undefined : new Map(changes.stages);
    },
    pollers: (pool) => countPollers(client, pool),
    wait: (stage) => findPoolWait(client, stage).catch(() => undefined),
    close: () => client.connection.close(),
  };
}
