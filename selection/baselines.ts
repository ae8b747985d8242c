import {
  at,
  excess,
  isFeasible,
  restrict,
  tolerance,
  usage,
  valueOf,
  type ChoiceProblem,
  type Picks,
} from './problem.ts';
import { seededIndex, seededRandom } from './random.ts';
import type { Solver } from './solver.ts';

/** What simpler ways of choosing reach under the same rows; null where one finds nothing feasible. */
export interface Baselines {
  /** The best selection that keeps the same number of experts in every layer. */
  homogeneous: { value: number; experts: number } | null;
  /** Gives up, one at a time, what costs least score for what the rows lack. */
  greedy: { value: number; picks: Picks } | null;
  /** Picked at random, then moved at random until every row holds. */
  random: { mean: number; best: number; samples: number } | null;
}

export interface BaselineInput {
  problem: ChoiceProblem;
  /** experts[layer][choice] */
  experts: readonly (readonly number[])[];
  randomSamples: number;
  seed: number;
  timeLimitSeconds: number;
}

export function findBaselines(solver: Solver, input: BaselineInput): Baselines {
  return { homogeneous: homogeneous(solver, input), greedy: greedy(input.problem), random: atRandom(input) };
}

function homogeneous(
  solver: Solver,
  { problem, experts, timeLimitSeconds }: BaselineInput,
): Baselines['homogeneous'] {
  const counts = [...new Set(experts.flat())].sort((a, b) => b - a);
  let best: Baselines['homogeneous'] = null;
  for (const count of counts) {
    if (!experts.every((layer) => layer.includes(count))) continue;
    const same = restrict(problem, (layer, choice) => experts[layer]?.[choice] === count);
    const outcome = solver.solve(same.problem, timeLimitSeconds);
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') continue;
    if (best === null || outcome.value < best.value) best = { value: outcome.value, experts: count };
  }
  return best;
}

/** From the best score of every layer downwards: the step with the least score a unit of relief, till all holds. */
function greedy(problem: ChoiceProblem): Baselines['greedy'] {
  const picks = problem.scores.map((scores) => scores.indexOf(Math.min(...scores)));
  for (let steps = 0; steps < mostSteps; steps++) {
    if (isFeasible(problem, picks)) return { value: valueOf(problem, picks), picks };
    const step = bestStep(problem, picks);
    if (step === undefined) return null;
    picks[step.layer] = step.choice;
  }
  return null;
}

const mostSteps = 100_000;

interface Step {
  layer: number;
  choice: number;
}

function bestStep(problem: ChoiceProblem, picks: Picks): Step | undefined {
  const lack = lackOf(problem, picks);
  let best: Step | undefined;
  let least = Infinity;
  for (const step of stepsFrom(problem, picks)) {
    const relief = lack - lackOf(problem, taken(picks, step));
    if (relief <= 1e-15) continue;
    const worse =
      at(problem.scores, step.layer, step.choice) - at(problem.scores, step.layer, picks[step.layer] ?? 0);
    const price = worse / relief;
    if (price < least) {
      least = price;
      best = step;
    }
  }
  return best;
}

function atRandom({ problem, randomSamples, seed }: BaselineInput): Baselines['random'] {
  const random = seededRandom(seed);
  const values: number[] = [];
  for (let sample = 0; sample < randomSamples; sample++) {
    const picks = repaired(
      problem,
      problem.scores.map((scores) => seededIndex(random, scores.length)),
      random,
    );
    if (picks !== undefined) values.push(valueOf(problem, picks));
  }
  if (values.length === 0) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, best: Math.min(...values), samples: values.length };
}

/** Takes random steps that lessen what the rows lack, as many as layers and choices allow. */
function repaired(problem: ChoiceProblem, start: number[], random: () => number): Picks | undefined {
  let picks = start;
  for (let tries = 0; tries < 40 * problem.scores.length; tries++) {
    if (isFeasible(problem, picks)) return picks;
    const layer = seededIndex(random, picks.length);
    const choice = seededIndex(random, problem.scores[layer]?.length ?? 1);
    const moved = taken(picks, { layer, choice });
    if (lackOf(problem, moved) < lackOf(problem, picks)) picks = moved;
  }
  return isFeasible(problem, picks) ? picks : undefined;
}

/** How far the rows are from holding, each as a share of its own span. */
function lackOf(problem: ChoiceProblem, picks: Picks): number {
  return problem.rows.reduce((sum, row) => {
    const over = excess(row, usage(row, picks));
    return over <= tolerance(row)
      ? sum
      : sum + over / Math.max(Math.abs(row.limit), tolerance(row) / 1e-9, 1e-300);
  }, 0);
}

function* stepsFrom(problem: ChoiceProblem, picks: Picks): Generator<Step> {
  for (const [layer, scores] of problem.scores.entries()) {
    for (const choice of scores.keys()) if (choice !== picks[layer]) yield { layer, choice };
  }
}

function taken(picks: Picks, { layer, choice }: Step): number[] {
  return picks.map((pick, index) => (index === layer ? choice : pick));
}
