import { isFeasible, restrict, valueOf, type ChoiceProblem, type Picks } from './problem.ts';
import { seededIndex, seededRandom } from './random.ts';
import { lackOf, repair, taken } from './repair.ts';
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

function greedy(problem: ChoiceProblem): Baselines['greedy'] {
  const start = problem.scores.map((scores) => scores.indexOf(Math.min(...scores)));
  const picks = repair(problem, start);
  return picks === undefined ? null : { value: valueOf(problem, picks), picks };
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
