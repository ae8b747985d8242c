import type { Plan, PlannedStage } from '../compiler/plan.ts';
import { Failure } from '../core/errors.ts';
import type { Documents } from '../store/store.ts';
import type { Graph } from './run-request.ts';

/** A plan with the look-ups that binding needs. */
export interface IndexedPlan extends Plan {
  byName: ReadonlyMap<string, PlannedStage>;
  /** Stage -> the stages that read it, in plan order. */
  readers: ReadonlyMap<string, readonly string[]>;
}

const cache = new WeakMap<Documents, Map<string, Promise<IndexedPlan>>>();
const plansKept = 8;

/** The plan of a run; it was written once and never changes, so a few are kept parsed. */
export async function readPlan(documents: Documents, run: string): Promise<IndexedPlan> {
  const kept = cache.get(documents) ?? new Map<string, Promise<IndexedPlan>>();
  cache.set(documents, kept);
  const found = kept.get(run) ?? load(documents, run);
  kept.set(run, found);
  found.catch(() => kept.delete(run));
  const oldest = kept.keys().next().value;
  if (kept.size > plansKept && oldest !== undefined) kept.delete(oldest);
  return found;
}

export function graphOf(plan: Plan): Graph {
  const index = new Map(plan.stages.map((stage, at) => [stage.name, at]));
  return {
    stages: plan.stages.map((stage) => ({
      name: stage.name,
      after: stage.after.map((name) => index.get(name) ?? -1),
    })),
  };
}

async function load(documents: Documents, run: string): Promise<IndexedPlan> {
  const text = await documents.read(`runs/${run}/plan`);
  if (text === undefined) throw new Failure('NOT_FOUND', `run ${run} has no plan in the store`);
  const plan = JSON.parse(text) as Plan;
  const readers = new Map<string, string[]>();
  for (const stage of plan.stages) {
    for (const before of new Set(stage.after)) {
      const list = readers.get(before) ?? [];
      list.push(stage.name);
      readers.set(before, list);
    }
  }
  return { ...plan, byName: new Map(plan.stages.map((stage) => [stage.name, stage])), readers };
}
