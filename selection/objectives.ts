import type { LayerShape, ModelShape } from '../costs/config.ts';
import { cachedTokens, gibibyte, kvBytesPerToken, layerBytes, layerParameters } from '../costs/geometry.ts';
import { layerTime } from '../costs/roofline.ts';
import type { Choice } from './choices.ts';
import { servingOf } from './constraints.ts';
import { sumOver, type ChoiceProblem, type Picks, type Row } from './problem.ts';
import type { Objective, SelectSettings } from './settings.ts';
import type { Outcome, Solver } from './solver.ts';

/** What an objective amounts to, choice by choice; sums over layers leave out what no choice changes. */
export interface ObjectiveCosts {
  name: string;
  unit: string;
  /** costs[layer][choice] */
  costs: number[][];
}

export interface ObjectiveInput {
  choices: readonly (readonly Choice[])[];
  model: ModelShape;
  settings: SelectSettings;
  /** One for each scenario. */
  batches: readonly number[];
}

export function costsOf(objective: Objective, input: ObjectiveInput): ObjectiveCosts {
  const { model } = input;
  const table = (cost: (choice: Choice) => number): number[][] =>
    input.choices.map((options) => options.map(cost));
  switch (objective.minimise) {
    case 'score':
      return { name: 'score', unit: '', costs: table((choice) => choice.score) };
    case 'parameters':
      return {
        name: 'parameters',
        unit: 'in layers',
        costs: table((choice) => layerParameters(model, choice)),
      };
    case 'weight_gib':
      return {
        name: 'weight_gib',
        unit: 'GiB in layers',
        costs: table((choice) => layerBytes(model, choice) / gibibyte),
      };
    case 'kv':
      return {
        name: `kv at ${objective.context} tokens`,
        unit: 'GiB of bf16',
        costs: table((choice) => kvGib(model, choice, objective.context)),
      };
    case 'time':
      return timeCosts(objective.scenario, input, table);
  }
}

function kvGib(model: ModelShape, choice: LayerShape, context: number): number {
  return (cachedTokens(choice, context) * kvBytesPerToken(model, 2)) / gibibyte;
}

/** Seconds of a batch of the scenario: linear, because the batch is fixed. */
function timeCosts(
  name: string,
  { model, settings, batches }: ObjectiveInput,
  table: (cost: (choice: Choice) => number) => number[][],
): ObjectiveCosts {
  const index = settings.scenarios.findIndex((scenario) => scenario.name === name);
  const scenario = settings.scenarios[index];
  if (scenario === undefined) throw new Error(`bug: objective of the unknown scenario ${name}`);
  const given = { serving: servingOf(scenario, settings), batch: batches[index] ?? 1 };
  const costs = table((choice) => {
    const time = layerTime(model, choice, given);
    return scenario.outputTokens * time.decodeSeconds + given.batch * time.prefillSeconds;
  });
  return { name: `time (${name}, batch ${given.batch})`, unit: 's in layers', costs };
}

export interface LexicographicOutcome {
  outcome: Outcome;
  /** Of the last objective; those before it are rows of it. */
  problem: ChoiceProblem;
}

/**
 * One objective after the other: the best of the first, then the best of the second among all that are within
 * the first's slack of its best, and so on. With one objective, that one's program.
 */
export function solveInOrder(
  solver: Solver,
  base: Omit<ChoiceProblem, 'scores'>,
  given: { objectives: readonly { objective: Objective; costs: ObjectiveCosts }[]; timeLimitSeconds: number },
): LexicographicOutcome {
  let rows = [...base.rows];
  let last: LexicographicOutcome | undefined;
  for (const { objective, costs } of given.objectives) {
    const problem: ChoiceProblem = { layers: base.layers, rows, scores: costs.costs };
    last = { problem, outcome: solver.solve(problem, given.timeLimitSeconds) };
    const { outcome } = last;
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') return last;
    const limit = outcome.value + objective.slack * Math.abs(outcome.value);
    rows = [...rows, goalRow(costs, limit)];
  }
  if (last === undefined) throw new Error('bug: no objective');
  return last;
}

function goalRow({ name, unit, costs }: ObjectiveCosts, limit: number): Row {
  return { name: `objective ${name}`, unit, sense: 'at_most', limit, costs };
}

export function achieved(objectives: readonly ObjectiveCosts[], picks: Picks): number[] {
  return objectives.map(({ costs }) => sumOver(costs, picks));
}
