import type { Plan } from '../compiler/plan.ts';
import { Failure } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';
import { listFinished, readStarted, type RunFinished, type RunStarted } from '../lineage/run.ts';
import type { Store } from '../store/store.ts';
import { kindVersions } from '../workers/kind-versions.ts';
import { bulkStore } from './bulk-store.ts';
import { resolvePlan } from './resolve-plan.ts';

/** What the store says of one run. */
export interface StoredRun {
  started: RunStarted;
  /** How it ended, the last time it did. */
  finished: RunFinished | undefined;
  plan: Plan;
}

/** Ids of all runs, newest first: an id begins with its time. */
export async function listRuns(store: Store): Promise<string[]> {
  const names = await store.documents.list('runs/');
  const ids = names.filter((name) => name.endsWith('/started')).map((name) => name.split('/')[1] ?? '');
  return ids.sort().reverse();
}

/** `last`, a whole id, or the end of one. */
export async function findRun(store: Store, name: string): Promise<StoredRun> {
  const ids = await listRuns(store);
  const found = name === 'last' ? ids.slice(0, 1) : ids.filter((id) => id === name || id.endsWith(name));
  const [id, another] = found;
  if (id === undefined)
    throw new Failure('NOT_FOUND', name === 'last' ? 'nothing was run here yet' : `there is no run ${name}`, {
      retryable: false,
    });
  if (another !== undefined) throw new Failure('BAD_INPUT', `${name} may be ${found.join(' or ')}`);
  return await readRun(store, id);
}

export async function readRun(store: Store, id: string): Promise<StoredRun> {
  const started = await readStarted(store.documents, id);
  const text = await store.documents.read(`runs/${id}/plan`);
  if (started === undefined || text === undefined)
    throw new Failure('NOT_FOUND', `run ${id} is not whole in the store`);
  return {
    started,
    finished: (await listFinished(store.documents, id)).at(-1),
    plan: JSON.parse(text) as Plan,
  };
}

/** Stage -> key, as far as keys can be known: of a run that has not ended, up to the first stage not made. */
export async function keysOfRun(
  store: Store,
  run: StoredRun,
  root: string,
): Promise<ReadonlyMap<string, StageKey>> {
  const known =
    run.finished?.stages.flatMap(({ stage, key }) => (key === undefined ? [] : [[stage, key] as const])) ??
    [];
  if (run.finished !== undefined) return new Map(known);
  const { versions } = kindVersions(root, new Set(run.plan.stages.map(({ kind }) => kind)));
  return (await resolvePlan(run.plan, await bulkStore(store, run.plan, versions), versions)).keys;
}
