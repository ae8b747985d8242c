import type { Plan } from '../compiler/plan.ts';
import { listFinished, readStarted, type RunFinished, type RunStarted } from '../lineage/run.ts';
import type { Store } from '../store/store.ts';
import { listRuns } from './find-run.ts';
import type { LiveRuns } from './live-states.ts';
import type { PoolWait } from './pool-queues.ts';
import type { RunFilter } from './run-filter.ts';

/** One run in a list. */
export interface RunLine {
  run: string;
  spec: string;
  profile: string | null;
  state: string;
  owner: string | null;
  commit: string | null;
  startedAt: string;
  finishedAt: string | null;
  stages: { [state: string]: number };
  /** Pools that stages of it wait for, each with the longest wait. */
  waits: PoolWait[];
}

export interface Listing {
  store: Store;
  live: LiveRuns;
  filter: RunFilter;
  /** Only runs older than this one. */
  before: string | undefined;
}

const readAtOnce = 32;
/** Runs that a server is asked about at once: an id begins with its time, and the newest come first. */
const askedAtOnce = 1000;

/** Runs that a filter lets through, newest first; what is not asked for is not read. */
export async function* listedRuns({ store, live, filter, before }: Listing): AsyncGenerator<RunLine> {
  const all = await listRuns(store);
  const older = before === undefined ? all : all.filter((id) => id < before);
  for (let from = 0; from < older.length; from += askedAtOnce) {
    const ids = await candidates(older.slice(from, from + askedAtOnce), { live, filter });
    for (let at = 0; at < ids.length; at += readAtOnce) {
      const part = ids.slice(at, at + readAtOnce);
      const lines = await Promise.all(part.map((id) => readLine(id, { store, live, filter })));
      for (const line of lines) if (line !== undefined) yield line;
    }
  }
}

/** Without those that the server knows by their attributes, and knows not to be asked for. `ids`: newest first. */
async function candidates(
  ids: readonly string[],
  { live, filter }: Pick<Listing, 'live' | 'filter'>,
): Promise<readonly string[]> {
  const [newest, oldest] = [ids[0], ids.at(-1)];
  if (Object.keys(filter).length === 0 || newest === undefined || oldest === undefined) return ids;
  const index = await live.index(filter, { oldest, newest });
  return ids.filter((id) => index?.known.has(id) !== true || index.matching.has(id));
}

type Reading = Pick<Listing, 'store' | 'live' | 'filter'>;

/** Undefined: the filter does not let it through. */
async function readLine(id: string, { store, live, filter }: Reading): Promise<RunLine | undefined> {
  const { documents } = store;
  const started = await readStarted(documents, id);
  if (started === undefined || !isAsked(started, filter)) return undefined;
  const finished = (await listFinished(documents, id)).at(-1);
  const state = finished?.state ?? (await live.state(id)) ?? 'interrupted';
  if (filter.state !== undefined && filter.state !== state) return undefined;
  const plan = await readPlan(store, id, { finished, filter });
  if (plan !== undefined && !hasAsked(plan, filter)) return undefined;
  const ended = finished === undefined ? undefined : { stages: countEnds(finished), waits: [] };
  return { ...toLine(started, finished), state, ...(ended ?? (await stagesNow(id, plan, live))) };
}

function toLine(
  { run, spec, owner, commit, startedAt }: RunStarted,
  finished: RunFinished | undefined,
): Omit<RunLine, 'state' | 'stages' | 'waits'> {
  return {
    run,
    spec: spec.name,
    profile: spec.profile,
    owner: owner ?? null,
    commit: commit ?? null,
    startedAt,
    finishedAt: finished?.finishedAt ?? null,
  };
}

function isAsked({ spec, commit, owner }: RunStarted, filter: RunFilter): boolean {
  return (
    (filter.spec === undefined || filter.spec === spec.name) &&
    (filter.owner === undefined || filter.owner === owner) &&
    (filter.commit === undefined || commit?.startsWith(filter.commit) === true)
  );
}

function hasAsked({ stages }: Plan, { pool, kind }: RunFilter): boolean {
  return (
    (pool === undefined || stages.some((stage) => stage.pool === pool)) &&
    (kind === undefined || stages.some((stage) => stage.kind === kind))
  );
}

interface Needs {
  finished: RunFinished | undefined;
  filter: RunFilter;
}

/** A plan may be large, and is read only when something is asked of it. */
async function readPlan(store: Store, id: string, { finished, filter }: Needs): Promise<Plan | undefined> {
  if (finished !== undefined && filter.pool === undefined && filter.kind === undefined) return undefined;
  const text = await store.documents.read(`runs/${id}/plan`);
  return text === undefined ? undefined : (JSON.parse(text) as Plan);
}

function countEnds({ stages }: RunFinished): RunLine['stages'] {
  return count(stages.map(({ outcome }) => outcome));
}

async function stagesNow(
  id: string,
  plan: Plan | undefined,
  live: LiveRuns,
): Promise<Pick<RunLine, 'stages' | 'waits'>> {
  const planned = plan?.stages ?? [];
  const states = await live.states(id);
  if (states === undefined) return { stages: { planned: planned.length }, waits: [] };
  const stages = count(planned.map(({ name }) => states.get(name)?.kind ?? 'waiting'));
  return { stages, waits: await longestWaits(planned, states, live) };
}

async function longestWaits(
  planned: readonly { name: string; pool: string }[],
  states: NonNullable<Awaited<ReturnType<LiveRuns['states']>>>,
  live: LiveRuns,
): Promise<PoolWait[]> {
  const asked = planned.flatMap(({ name, pool }) => {
    const state = states.get(name);
    return state?.kind === 'running' && live.isForeign(pool) ? [{ key: state.key, pool }] : [];
  });
  const found = await Promise.all(asked.map((stage) => live.wait(stage)));
  const longest = new Map<string, PoolWait>();
  for (const wait of found) {
    if (wait === undefined) continue;
    const known = longest.get(wait.pool);
    if (known === undefined || wait.since < known.since) longest.set(wait.pool, wait);
  }
  return [...longest.values()];
}

function count(states: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const state of states) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}
