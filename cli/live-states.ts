import type { Client } from '@temporalio/client';
import { findServer } from '../workers/embedded-server.ts';
import type { HomePaths } from '../workers/home.ts';
import { runAttributes } from '../workers/search-attributes.ts';
import { isFleet, ownPoolsOf } from '../workers/worker-settings.ts';
import type { RunChanges, StageState } from '../workflows/index.ts';
import type { StageKey } from '../core/keys.ts';
import type { Invocation } from './command.ts';
import type { PoolWait } from './pool-queues.ts';
import { visibilityQuery, type RunFilter } from './run-filter.ts';

/** Runs that have not ended, as Temporal sees them; asked only when a server is there to answer. */
export interface LiveRuns {
  /** `running`, `paused` or `approval`; undefined when nothing works on it now. */
  state(run: string): Promise<string | undefined>;
  /** What the server knows of some runs, by their attributes; undefined where it cannot be asked so: ask the store. */
  index(filter: RunFilter, range: IdRange): Promise<RunIndex | undefined>;
  /** Whether a pool is served by workers of its own. */
  isForeign(pool: string): boolean;
  /** Undefined when the run is not at work. */
  states(run: string): Promise<ReadonlyMap<string, StageState> | undefined>;
  /** Workers that serve a pool; undefined when no server is there to ask. */
  pollers(pool: string): Promise<number | undefined>;
  /** Since when a stage at work waits for a worker of its pool, if it does. */
  wait(stage: { key: StageKey; pool: string }): Promise<PoolWait | undefined>;
  close(): Promise<void>;
}

/** Runs from one id to another, both with it. */
export interface IdRange {
  oldest: string;
  newest: string;
}

/** Ids of runs that have attributes, and of those that a filter lets through. */
export interface RunIndex {
  known: ReadonlySet<string>;
  matching: ReadonlySet<string>;
}

const nobody: LiveRuns = {
  state: () => Promise.resolve(undefined),
  index: () => Promise.resolve(undefined),
  isForeign: () => true,
  states: () => Promise.resolve(undefined),
  pollers: () => Promise.resolve(undefined),
  wait: () => Promise.resolve(undefined),
  close: () => Promise.resolve(),
};

/** A client of the server that runs are on now; undefined when none answers. */
export async function liveClient(
  { env }: Pick<Invocation, 'env'>,
  paths: HomePaths,
): Promise<Client | undefined> {
  const server = findServer(paths.temporal);
  const { namedCluster } = await import('../workers/cluster.ts');
  const isNamed = namedCluster(env) !== undefined;
  if (server === undefined && !isNamed) return undefined;
  const { connectClient } = await import('./temporal-client.ts');
  return await connectClient(env, isNamed ? undefined : server?.port, 2).catch(() => undefined);
}

export async function liveRuns(invocation: Pick<Invocation, 'env'>, paths: HomePaths): Promise<LiveRuns> {
  const client = await liveClient(invocation, paths);
  if (client === undefined) return nobody;
  const { countPollers } = await import('./pool-queues.ts');
  const { findPoolWait } = await import('./stage-now.ts');
  const own = ownPoolsOf({ isShared: isFleet(invocation.env) });
  const state = async (run: string): Promise<string | undefined> => {
    const description = await client.workflow
      .getHandle(`run-${run}`)
      .describe()
      .catch(() => undefined);
    if (description?.status.name !== 'RUNNING') return undefined;
    return description.typedSearchAttributes.get(runAttributes.state) ?? 'running';
  };
  return {
    state,
    index: (filter, range) => findIndex(client, filter, range),
    isForeign: (pool) => !own.has(pool),
    states: async (run) => {
      if ((await state(run)) === undefined) return undefined;
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

/** A namespace that does not know the attributes finds nothing by them. */
async function findIndex(client: Client, filter: RunFilter, range: IdRange): Promise<RunIndex | undefined> {
  try {
    const [known, matching] = await Promise.all([
      idsOf(client, visibilityQuery({}, range)),
      idsOf(client, visibilityQuery(filter, range)),
    ]);
    return { known, matching };
  } catch {
    return undefined;
  }
}

async function idsOf(client: Client, query: string): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const { workflowId } of client.workflow.list({ query, pageSize: 1000 }))
    ids.add(workflowId.slice('run-'.length));
  return ids;
}
