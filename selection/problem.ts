import { Failure } from '../core/errors.ts';

/** A limit on the sum over layers of what each layer's choice uses. */
export interface Row {
  name: string;
  unit: string;
  sense: 'at_most' | 'at_least' | 'exactly';
  limit: number;
  /** costs[layer][choice] */
  costs: readonly (readonly number[])[];
}

/**
 * Pick one choice in every layer so that the sum of scores is least and every row holds: a
 * multiple-choice knapsack with several knapsacks. Lower scores are better.
 */
export interface ChoiceProblem {
  layers: readonly string[];
  /** scores[layer][choice] */
  scores: readonly (readonly number[])[];
  rows: readonly Row[];
}

/** The index of the choice taken in each layer. */
export type Picks = readonly number[];

/** How far a row may be over its limit and still hold: rounding of sums of doubles, and nothing more. */
export const relativeTolerance = 1e-9;

/** Every later step trusts what this has checked. */
export function checkProblem(problem: ChoiceProblem): void {
  if (problem.scores.length === 0) throw new Failure('BAD_INPUT', 'selection: the model has no layers');
  for (const [layer, scores] of problem.scores.entries()) {
    const name = problem.layers[layer] ?? String(layer);
    if (scores.length === 0) throw new Failure('BAD_INPUT', `${name}: no choice is left`);
    const wrong = scores.findIndex((score) => !Number.isFinite(score));
    if (wrong >= 0) {
      throw new Failure(
        'BAD_INPUT',
        `${name}, choice ${wrong}: score is ${String(scores[wrong])}, not a number`,
      );
    }
    for (const row of problem.rows) checkRow(row, { layer, name, choices: scores.length });
  }
}

export function valueOf(problem: ChoiceProblem, picks: Picks): number {
  return sumOver(problem.scores, picks);
}

export function usage(row: Row, picks: Picks): number {
  return sumOver(row.costs, picks);
}

export function tolerance(row: Row): number {
  let largest = Math.abs(row.limit);
  for (const costs of row.costs) for (const cost of costs) largest = Math.max(largest, Math.abs(cost));
  return relativeTolerance * largest;
}

/** By how much a row is broken, in its unit; 0 when it holds. */
export function excess(row: Row, used: number): number {
  const over = used - row.limit;
  if (row.sense === 'at_most') return Math.max(0, over);
  return row.sense === 'at_least' ? Math.max(0, -over) : Math.abs(over);
}

export function isFeasible(problem: ChoiceProblem, picks: Picks): boolean {
  return problem.rows.every((row) => excess(row, usage(row, picks)) <= tolerance(row));
}

/**
 * possible[layer][choice]: false where a row has no room for the choice even if every other layer
 * took its least. Plain arithmetic, so a certificate can repeat it.
 */
export function possibleChoices(problem: ChoiceProblem): boolean[][] {
  const possible = problem.scores.map((scores) => scores.map(() => true));
  for (const row of problem.rows) {
    const sign = row.sense === 'at_least' ? -1 : 1;
    const least = row.costs.map((costs) => Math.min(...costs.map((cost) => sign * cost)));
    const room = sign * row.limit - least.reduce((sum, cost) => sum + cost, 0) + tolerance(row);
    for (const [layer, flags] of possible.entries()) {
      for (const choice of flags.keys()) {
        if (sign * at(row.costs, layer, choice) - (least[layer] ?? 0) > room) flags[choice] = false;
      }
    }
  }
  return possible;
}

/** table[layer][choice], for indices that are known to be there. */
export function at(table: readonly (readonly number[])[], layer: number, choice: number): number {
  const value = table[layer]?.[choice];
  if (value === undefined) throw new Error(`bug: no choice ${choice} in layer ${layer}`);
  return value;
}

export function sumOver(table: readonly (readonly number[])[], picks: Picks): number {
  return picks.reduce((sum, choice, layer) => sum + at(table, layer, choice), 0);
}

/** A problem with fewer choices; `original` and `of` translate picks there and back. */
export interface Restricted {
  problem: ChoiceProblem;
  original: (picks: Picks) => number[];
  /** undefined where a pick was not kept. */
  of: (picks: Picks) => number[] | undefined;
}

/** The same problem with the given choices alone: keep(layer, choice). */
export function restrict(
  problem: ChoiceProblem,
  keep: (layer: number, choice: number) => boolean,
): Restricted {
  const kept = problem.scores.map((scores, layer) =>
    scores.map((_, choice) => choice).filter((choice) => keep(layer, choice)),
  );
  const cut = (table: readonly (readonly number[])[]): number[][] =>
    kept.map((choices, layer) => choices.map((choice) => at(table, layer, choice)));
  return {
    problem: {
      layers: problem.layers,
      scores: cut(problem.scores),
      rows: problem.rows.map((row) => ({ ...row, costs: cut(row.costs) })),
    },
    original: (picks) => picks.map((pick, layer) => at(kept, layer, pick)),
    of: (picks) => {
      const found = picks.map((pick, layer) => kept[layer]?.indexOf(pick) ?? -1);
      return found.includes(-1) ? undefined : found;
    },
  };
}

function checkRow(row: Row, place: { layer: number; name: string; choices: number }): void {
  if (!Number.isFinite(row.limit))
    throw new Failure('BAD_INPUT', `${row.name}: limit is ${String(row.limit)}`);
  const costs = row.costs[place.layer] ?? [];
  if (costs.length !== place.choices)
    throw new Error(`bug: ${row.name} has ${costs.length} costs in ${place.name}`);
  const wrong = costs.findIndex((cost) => !Number.isFinite(cost));
  if (wrong >= 0) {
    throw new Failure(
      'BAD_INPUT',
      `${row.name}: cost of ${place.name}, choice ${wrong} is ${String(costs[wrong])}`,
    );
  }
}
