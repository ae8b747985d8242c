import { differsFrom } from './distance.ts';
import { at, restrict, usage, type ChoiceProblem, type Picks, type Row } from './problem.ts';
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
  /** By how much the best whole score rises if this layer must keep all it has; null where nothing fits then. */
  keepingAll: number | null;
  /** The row whose price most of that saving pays, if any. */
  pays: string | null;
  /** Share of noisy repetitions in which the layer got the same choice; null when none were made. */
  stability: number | null;
  /** What it got most often instead; null where nothing else. */
  flipsTo: number | null;
}

export interface ReasonInput {
  multipliers: readonly number[];
  stability: Stability | null;
  keepingAll: readonly (number | null)[];
}

export function layerReasons(problem: ChoiceProblem, picks: Picks, given: ReasonInput): LayerReason[] {
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
      keepingAll: given.keepingAll[layer] ?? null,
      pays: most.worth > 0 ? most.name : null,
      stability: given.stability?.same[layer] ?? null,
      flipsTo: given.stability?.flipsTo[layer] ?? null,
    };
  });
}

/**
 * What keeping all of one layer would cost the whole: the best score with that layer held at its first choice (the
 * nearest to the parent), above the best score there is. 0 where the layer keeps all anyway.
 */
export function keepingAll(
  solver: Solver,
  problem: ChoiceProblem,
  given: { picks: Picks; value: number; timeLimitSeconds: number },
): (number | null)[] {
  return given.picks.map((pick, held) => {
    if (pick === 0) return 0;
    const forced = restrict(problem, (layer, choice) => layer !== held || choice === 0);
    const value = valueOrNull(solver.solve(forced.problem, given.timeLimitSeconds));
    return value === null ? null : value - given.value;
  });
}

export interface Stability {
  /** Share of noisy repetitions in which a layer kept its choice. */
  same: number[];
  /** The choice a layer took most often instead. */
  flipsTo: (number | null)[];
}

/** Solves again with every score moved by its standard error, as often as asked. */
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
): Stability | null {
  const isNoisy = given.standardErrors.some((errors) => errors.some((error) => error > 0));
  if (!isNoisy || given.samples === 0) return null;
  const random = seededRandom(given.seed);
  const times = problem.scores.map((scores) => scores.map(() => 0));
  let solved = 0;
  for (let sample = 0; sample < given.samples; sample++) {
    const scores = problem.scores.map((layer, index) =>
      layer.map((score, choice) => score + at(given.standardErrors, index, choice) * seededNormal(random)),
    );
    const outcome = solver.solve({ ...problem, scores }, given.timeLimitSeconds);
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') continue;
    solved++;
    for (const [layer, pick] of outcome.picks.entries()) {
      const counts = times[layer] ?? [];
      counts[pick] = (counts[pick] ?? 0) + 1;
    }
  }
  if (solved === 0) return null;
  return {
    same: given.picks.map((pick, layer) => at(times, layer, pick) / solved),
    flipsTo: given.picks.map((pick, layer) => mostOften(times[layer] ?? [], pick)),
  };
}

function mostOften(times: readonly number[], except: number): number | null {
  const others = times.map((count, choice) => (choice === except ? 0 : count));
  const most = Math.max(...others);
  return most > 0 ? others.indexOf(most) : null;
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

/**
 * Best score for limits of one row, evenly spaced from the least that the other rows allow to where the row no
 * longer matters: every point is a real selection.
 */
export function paretoFrontier(
  solver: Solver,
  problem: ChoiceProblem,
  given: { row: Row; points: number; timeLimitSeconds: number },
): ParetoPoint[] {
  const { row, points, timeLimitSeconds } = given;
  const others = problem.rows.filter((other) => other !== row);
  const sign = row.sense === 'at_least' ? -1 : 1;
  const costs = row.costs.map((layer) => layer.map((cost) => sign * cost));
  const usedBy = (outcome: Outcome): number | undefined =>
    outcome.kind === 'optimal' || outcome.kind === 'feasible' ? usage(row, outcome.picks) : undefined;
  const tightest = usedBy(solver.solve({ ...problem, scores: costs, rows: others }, timeLimitSeconds));
  const loosest = usedBy(solver.solve({ ...problem, rows: others }, timeLimitSeconds));
  if (tightest === undefined || loosest === undefined) return [];
  const frontier: ParetoPoint[] = [];
  for (let index = 0; index < points; index++) {
    const limit = tightest + ((loosest - tightest) * index) / Math.max(1, points - 1);
    const moved: Row = { ...row, limit, sense: row.sense === 'at_least' ? 'at_least' : 'at_most' };
    const rows = problem.rows.map((other) => (other === row ? moved : other));
    const outcome = solver.solve({ ...problem, rows }, timeLimitSeconds);
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') continue;
    frontier.push({ limit, value: outcome.value, used: usage(row, outcome.picks) });
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
      ...avoid.map((picks, index) =>
        differsFrom(problem, picks, { name: `selection ${index}`, distance: given.distance }),
      ),
    ];
    const outcome = solver.solve({ ...problem, rows }, given.timeLimitSeconds);
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') break;
    found.push({ picks: outcome.picks, value: outcome.value });
    avoid.push(outcome.picks);
  }
  return found;
}

function valueOrNull(outcome: Outcome): number | null {
  return outcome.kind === 'optimal' || outcome.kind === 'feasible' ? outcome.value : null;
}
