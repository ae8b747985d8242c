import { Failure } from '../core/errors.ts';
import type { LayerShape, ModelShape } from '../costs/config.ts';
import type { LayerScores } from './block-scores.ts';
import { listChoices, type Choice } from './choices.ts';
import { architectureRows, scenarioRows, servingOf } from './constraints.ts';
import { differsFrom, picksOf } from './distance.ts';
import { describeConflict, explainInfeasible } from './infeasible.ts';
import { achieved, costsOf, solveInOrder, type ObjectiveCosts } from './objectives.ts';
import type { ChoiceProblem, Picks } from './problem.ts';
import type { Reference } from './references.ts';
import type { Scenario, SelectSettings } from './settings.ts';
import type { Outcome, Solver } from './solver.ts';

export interface SelectionInput {
  scores: readonly LayerScores[];
  model: ModelShape;
  settings: SelectSettings;
  /** Architectures that the selection must differ from. */
  differFrom?: readonly Reference[];
}

/** The best selection over all batches that were allowed, and the problem that it solves. */
export interface Selection {
  kind: 'optimal' | 'feasible';
  picks: Picks;
  /** Of the last objective. */
  value: number;
  /** What the selection reaches of every objective, in their order. */
  objectives: { name: string; unit: string; value: number }[];
  /** No selection at these batches is better than this. */
  bound: number;
  problem: ChoiceProblem;
  choices: readonly (readonly Choice[])[];
  batches: { scenario: string; batch: number }[];
  /** What every tried combination of batches gave. */
  tried: { batches: number[]; outcome: Outcome['kind']; value: number | null }[];
  seconds: number;
}

/** Finds the selection, or fails with what stands in its way; an empty answer is not an answer. */
export function select(solver: Solver, input: SelectionInput): Selection {
  const { model, settings } = input;
  const choices = listChoices(input.scores, model, settings);
  const combinations = batchCombinations(settings);
  const solved = combinations.map((batches) => {
    const objectives = settings.objectives.map((objective) => ({
      objective,
      costs: costsOf(objective, { choices, model, settings, batches }),
    }));
    const base = baseAt(input, choices, batches);
    const { problem, outcome } = solveInOrder(solver, base, {
      objectives,
      timeLimitSeconds: settings.timeLimitSeconds,
    });
    return { batches, problem, outcome, objectives: objectives.map(({ costs }) => costs) };
  });
  const best = solved.reduce<Solved | undefined>(
    (top, entry) => (isBetter(entry, top, settings) ? entry : top),
    undefined,
  );
  if (best === undefined || !hasPicks(best.outcome)) return nothingFound(solver, solved);
  // A combination that ran out of time may hide something better: only if all ended is the best the optimum.
  const isProven = solved.every(({ outcome }) => outcome.kind === 'optimal' || outcome.kind === 'infeasible');
  const bounds = solved.flatMap(({ outcome }) =>
    outcome.kind === 'infeasible' ? [] : [outcome.bound ?? -Infinity],
  );
  return {
    kind: isProven ? 'optimal' : 'feasible',
    picks: best.outcome.picks,
    value: best.outcome.value,
    objectives: reached(best.objectives, best.outcome.picks),
    bound: Math.min(best.outcome.value, ...bounds),
    problem: best.problem,
    choices,
    batches: settings.scenarios.map((scenario, index) => ({
      scenario: scenario.name,
      batch: best.batches[index] ?? 1,
    })),
    tried: solved.map(({ batches, outcome }) => ({
      batches,
      outcome: outcome.kind,
      value: hasPicks(outcome) ? outcome.value : null,
    })),
    seconds: solved.reduce((sum, { outcome }) => sum + outcome.seconds, 0),
  };
}

/** The layers of a selection: choices only. */
export function layersOf(selection: Selection): LayerShape[] {
  return shapesOf(selection.choices, selection.picks);
}

export function shapesOf(choices: readonly (readonly Choice[])[], picks: Picks): LayerShape[] {
  return picks.map((pick, layer) => {
    const choice = choices[layer]?.[pick];
    if (choice === undefined) throw new Error(`bug: layer ${layer} has no choice ${pick}`);
    return { experts: choice.experts, window: choice.window };
  });
}

/** Layers and rows at these batches; what is minimised comes on top. */
function baseAt(
  input: SelectionInput,
  choices: Choice[][],
  batches: readonly number[],
): Omit<ChoiceProblem, 'scores'> {
  const { model, settings } = input;
  const rows = architectureRows(choices, model, settings);
  for (const [index, scenario] of settings.scenarios.entries()) {
    const given = { scenario, serving: servingOf(scenario, settings), batch: batches[index] ?? 1 };
    rows.push(...scenarioRows(choices, model, given));
  }
  const scores = choices.map((options) => options.map(({ score }) => score));
  for (const { name, layers } of input.differFrom ?? []) {
    const picks = picksOf(choices, layers, `differ_from ${name}`);
    rows.push(differsFrom({ scores }, picks, { name, distance: settings.distance }));
  }
  return { layers: choices.map((_, layer) => `layer ${layer}`), rows };
}

function reached(objectives: readonly ObjectiveCosts[], picks: Picks): Selection['objectives'] {
  const values = achieved(objectives, picks);
  return objectives.map(({ name, unit }, index) => ({ name, unit, value: values[index] ?? 0 }));
}

/** By the first objective that differs by more than its slack; by the last one's value in the end. */
function isBetter(entry: Solved, top: Solved | undefined, settings: SelectSettings): boolean {
  if (!hasPicks(entry.outcome)) return false;
  if (top === undefined || !hasPicks(top.outcome)) return true;
  const [mine, theirs] = [entry, top].map(({ objectives, outcome }) =>
    hasPicks(outcome) ? achieved(objectives, outcome.picks) : [],
  );
  for (const [index, { slack }] of settings.objectives.entries()) {
    const [a, b] = [mine?.[index] ?? 0, theirs?.[index] ?? 0];
    if (Math.abs(a - b) > slack * Math.max(Math.abs(a), Math.abs(b))) return a < b;
  }
  return false;
}

/** With the batch fixed every row is linear; so batches are enumerated. */
function batchCombinations(settings: SelectSettings): number[][] {
  const combinations = settings.scenarios.reduce<number[][]>(
    (so, scenario) => so.flatMap((batches) => batchesOf(scenario).map((batch) => [...batches, batch])),
    [[]],
  );
  if (combinations.length <= mostCombinations) return combinations;
  throw new Failure(
    'BAD_INPUT',
    `scenarios: ${combinations.length} combinations of batches, at most ${mostCombinations} are tried; name fewer batches`,
  );
}

const mostCombinations = 256;
const powersOfTwo = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

function batchesOf(scenario: Scenario): number[] {
  if (scenario.batches !== undefined) return scenario.batches;
  const isBatchFree = scenario.throughputMin !== undefined || scenario.latencyMsMax !== undefined;
  return isBatchFree ? powersOfTwo : [1];
}

type Solved = { batches: number[]; problem: ChoiceProblem; outcome: Outcome; objectives: ObjectiveCosts[] };

function nothingFound(solver: Solver, solved: readonly Solved[]): never {
  const open = solved.find(({ outcome }) => outcome.kind !== 'infeasible');
  if (open !== undefined) {
    throw new Failure(
      'TIMEOUT',
      `no selection was found within the time limit, and none was ruled out; raise time_limit_seconds`,
      {
        retryable: false,
      },
    );
  }
  const reasons = solved
    .slice(0, mostReasons)
    .map(({ problem }) => describeConflict(explainInfeasible(solver, problem)));
  throw new Failure('BAD_INPUT', [...new Set(reasons)].join('\n'));
}

const mostReasons = 3;

function hasPicks(outcome: Outcome): outcome is Extract<Outcome, { kind: 'optimal' | 'feasible' }> {
  return outcome.kind === 'optimal' || outcome.kind === 'feasible';
}
