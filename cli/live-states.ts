import type { Client } from '@temporalio/client';
import { findServer } from '../workers/embedded-server.ts';
import type { HomePaths } from '../workers/home.ts';
import type { RunChanges, StageState } from '../workflows/index.ts';
import type { Invocation } from './command.ts';

/** Runs that have not ended, as Temporal sees them; asked only when a server is there to answer. */
export interface LiveRuns {
  isRunning(run: string): Promise<boolean>;
  /** Undefined when the run is not at work. */
  states(run: string): Promise<ReadonlyMap<string, StageState> | undefined>;
  close(): Promise<void>;
}

const nobody: LiveRuns = {
  isRunning: () => Promise.resolve(false),
  states: () => Promise.resolve(undefined),
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
    close: () => client.connection.close(),
  };
}
