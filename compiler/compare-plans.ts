import type { Json } from '../core/canonical-json.ts';
import type { Compare, Difference } from './nearest.ts';
import type { Plan, PlannedStage } from './plan.ts';

/** How a stage of one plan stands to the stage of that name in an older one. */
export type StageChange =
  | { kind: 'added' | 'removed'; stage: string }
  /** `asks`: what is part of the key; `runs`: how it is run, which is not. */
  | { kind: 'changed'; stage: string; asks: readonly Difference[]; runs: readonly Difference[] }
  /** Itself unchanged, but it reads what is changed: it runs again unless that gives the same bytes. */
  | { kind: 'downstream'; stage: string; of: readonly string[] }
  | { kind: 'unchanged'; stage: string };

/** Stage by stage in the order of `after`, then what is gone. */
export function comparePlans(before: Plan, after: Plan, compare: Compare): StageChange[] {
  const older = new Map(before.stages.map((stage) => [stage.name, stage]));
  const touched = new Set<string>();
  const changes = after.stages.map((stage): StageChange => {
    const change = changeOf(older.get(stage.name), stage, compare);
    const of = stage.after.filter((name) => touched.has(name));
    const asksAnew = change.kind === 'added' || (change.kind === 'changed' && change.asks.length > 0);
    if (asksAnew || of.length > 0) touched.add(stage.name);
    return change.kind === 'unchanged' && of.length > 0
      ? { kind: 'downstream', stage: stage.name, of }
      : change;
  });
  const names = new Set(after.stages.map(({ name }) => name));
  const removed = before.stages.filter(({ name }) => !names.has(name));
  return [...changes, ...removed.map(({ name }): StageChange => ({ kind: 'removed', stage: name }))];
}

function changeOf(older: PlannedStage | undefined, stage: PlannedStage, compare: Compare): StageChange {
  const { name } = stage;
  if (older === undefined) return { kind: 'added', stage: name };
  const asks = [
    ...compare('kind', older.kind, stage.kind),
    ...compare('version', older.version, stage.version),
    ...compare('with', older.with, stage.with),
    ...compare('inputs', asJson(older.inputs), asJson(stage.inputs)),
  ];
  const runs = [
    ...compare('pool', older.pool, stage.pool),
    ...compare('resources', asJson(older.resources), asJson(stage.resources)),
    ...compare('retry', { ...older.retry }, { ...stage.retry }),
    ...compare('budget', asJson(older.budget ?? {}), asJson(stage.budget ?? {})),
  ];
  if (asks.length === 0 && runs.length === 0) return { kind: 'unchanged', stage: name };
  return { kind: 'changed', stage: name, asks, runs };
}

/** Sources as `stage.output`, the way a spec writes them. */
function asJson(
  value: PlannedStage['inputs'] | PlannedStage['resources'] | NonNullable<PlannedStage['budget']>,
): Json {
  const text = JSON.stringify(value, (_, member: unknown) => sourceText(member) ?? member);
  return JSON.parse(text) as Json;
}

function sourceText(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || !('stage' in value) || !('output' in value))
    return undefined;
  return typeof value.stage === 'string' && typeof value.output === 'string'
    ? `${value.stage}.${value.output}`
    : undefined;
}
