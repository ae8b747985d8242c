import { at, restrict, usage, type ChoiceProblem, type Picks, type Row } from './problem.ts';
import { reducedScores } from './certificate.ts';
import { seededNormal, seededRandom } from './random.ts';
import type { Outcome, Solver } from './solver.ts';

/** What one row costs: the relaxation's price, and what really happens when its limit moves by 1 %. */
export interface ShadowPrice {
  name: string;
  /** Score per unit of the row. */
  multiplier: number;
  /** Best score with the limit 1 % tighter and 1 % looser; null where nothing fits. */
  tighter: number | null;
  looser: number | null;
}

export function shadowPrices(
  solver: Solver,
  problem: ChoiceProblem,
  given: { multipliers: readonly number[]; timeLimitSeconds: number },
): ShadowPrice[] {
  return problem.rows.map((row, index) => {
    const step = row.sense === 'at_least' ? -0.01 : 0.01;
    const moved = (factor: number): number | null => {
      const rows = problem.rows.map((other) =>
        other === row ? { ...row, limit: row.limit * factor } : other,
      );
      return valueOrNull(solver.solve({ ...problem, rows }, given.timeLimitSeconds));
    };
    const isCount = row.sense === 'exactly';
    return {
      name: row.name,
      multiplier: given.multipliers[index] ?? 0,
      // One per cent of a whole number that must be met exactly means nothing.
      tighter: isCount ? null : moved(1 - step),
      looser: isCount ? null : moved(1 + step),
    };
  });
}

/** Why a layer got what it got. */
export interface LayerReason {
  layer: string;
  /** Score of its choice above the layer's best choice. */
  givenUp: number;
  /** The row whose price most of that saving pays, if any. */
  pays: string | null;
  /** Share of noisy repetitions in which the layer got the same choice; null when none were made. */
  stability: number | null;
}

export function layerReasons(
  problem: ChoiceProblem,
  picks: Picks,
  given: { multipliers: readonly number[]; stability: readonly number[] | null },
): LayerReason[] {
  return picks.map((pick, layer) => {
    const scores = problem.scores[layer] ?? [];
    const best = scores.indexOf(Math.min(...scores));
    const savings = problem.rows.map((row, index) => {
      const sign = row.sense === 'at_least' ? -1 : 1;
      const saved = sign * (at(row.costs, layer, best) - at(row.costs, layer, pick));
      return { name: row.name, worth: saved * (given.multipliers[index] ?? 0) };
    });
    const most = savings.reduce((top, saving) => (saving.worth > top.worth ? saving : top), {
      name: '',
      worth: 0,
    });
    return {
      layer: problem.layers[layer] ?? String(layer),
      givenUp: at(problem.scores, layer, pick) - at(problem.scores, layer, best),
      pays: most.worth > 0 ? most.name : null,
      stability: given.stability?.[layer] ?? null,
    };
  });
}

/** Solves again with every score moved by its standard error; the share of samples in which a layer keeps its choice. */
export function stabilityUnderNoise(
  solver: Solver,
  problem: ChoiceProblem,
  given: {
    picks: Picks;
    standardErrors: readonly (readonly number[])[];
    samples: number;
    seed: number;
    timeLimitSeconds: number;
  },
): number[] | null {
  const isNoisy = given.standardErrors.some((errors) => errors.some((error) => error > 0));
  if (!isNoisy || given.samples === 0) return null;
  const random = seededRandom(given.seed);
  const same = given.picks.map(() => 0);
  let solved = 0;
  for (let sample = 0; sample < given.samples; sample++) {
    const scores = problem.scores.map((layer, index) =>
      layer.map((score, choice) => score + at(given.standardErrors, index, choice) * seededNormal(random)),
    );
    const outcome = solver.solve({ ...problem, scores }, given.timeLimitSeconds);
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') continue;
    solved++;
    for (const [layer, pick] of outcome.picks.entries()) {
      if (pick === given.picks[layer]) same[layer] = (same[layer] ?? 0) + 1;
    }
  }
  return solved === 0 ? null : same.map((times) => times / solved);
}

/** Best score with expert counts on coarser grids: what the expert-parallel size costs. */
export function gridPrices(
  solver: Solver,
  problem: ChoiceProblem,
  given: { experts: readonly (readonly number[])[]; multiples: readonly number[]; timeLimitSeconds: number },
): { multiple: number; value: number | null }[] {
  return given.multiples.map((multiple) => {
    const grid = restrict(problem, (layer, choice) => at(given.experts, layer, choice) % multiple === 0);
    if (grid.problem.scores.some((scores) => scores.length === 0)) return { multiple, value: null };
    return { multiple, value: valueOrNull(solver.solve(grid.problem, given.timeLimitSeconds)) };
  });
}

export interface ParetoPoint {
  limit: number;
  value: number;
  used: number;
}

/** Best score for limits of one row between the least and the most that any choice uses. */
export function paretoFrontier(
  solver: Solver,
  problem: ChoiceProblem,
  given: { row: Row; points: number; timeLimitSeconds: number },
): ParetoPoint[] {
  const least = given.row.costs.reduce((sum, costs) => sum + Math.min(...costs), 0);
  const most = given.row.costs.reduce((sum, costs) => sum + Math.max(...costs), 0);
  const frontier: ParetoPoint[] = [];
  for (let index = 0; index < given.points; index++) {
    const limit = least + ((most - least) * index) / Math.max(1, given.points - 1);
    const rows = problem.rows.map((row) => (row === given.row ? { ...row, limit } : row));
    const outcome = solver.solve({ ...problem, rows }, given.timeLimitSeconds);
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') continue;
    frontier.push({ limit, value: outcome.value, used: usage(given.row, outcome.picks) });
  }
  return frontier;
}

/** The next best selections, each differing from all before it in at least `distance` layers. */
export function alternatives(
  solver: Solver,
  problem: ChoiceProblem,
  given: { picks: Picks; count: number; distance: number; timeLimitSeconds: number },
): { picks: Picks; value: number }[] {
  const found: { picks: Picks; value: number }[] = [];
  const avoid: Picks[] = [given.picks];
  while (found.length < given.count) {
    const rows = [
      ...problem.rows,
      ...avoid.map((picks, index) => differsFrom(problem, picks, { index, distance: given.distance })),
    ];
    const outcome = solver.solve({ ...problem, rows }, given.timeLimitSeconds);
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') break;
    found.push({ picks: outcome.picks, value: outcome.value });
    avoid.push(outcome.picks);
  }
  return found;
}

/** At most (layers - distance) layers may be as they were: a Hamming distance. */
export function differsFrom(
  problem: ChoiceProblem,
  picks: Picks,
  given: { index: number; distance: number },
): Row {
  return {
    name: `differs from selection ${given.index}`,
    unit: 'layers',
    sense: 'at_most',
    limit: picks.length - given.distance,
    costs: problem.scores.map((scores, layer) =>
      scores.map((_, choice) => (choice === picks[layer] ? 1 : 0)),
    ),
  };
}

/** Choices that the bound alone shows to be in no better selection: reduced score above the gap. */
export function pinnedLayers(
  problem: ChoiceProblem,
  given: { multipliers: readonly number[]; gap: number },
): number {
  return reducedScores(problem, given.multipliers).filter((scores) => {
    const least = Math.min(...scores);
    return scores.filter((score) => score - least <= given.gap).length === 1;
  }).length;
}

function valueOrNull(outcome: Outcome): number | null {
  return outcome.kind === 'optimal' || outcome.kind === 'feasible' ? outcome.value : null;
}
