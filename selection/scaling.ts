import { possibleChoices, tolerance, type ChoiceProblem, type Row } from './problem.ts';

/**
 * The numbers a solver is given. Solvers work with absolute tolerances (about 1e-6), so scores of
 * 1e-6 or rows of 1e12 get wrong optima called optimal. Here the least of every layer is taken off
 * first (one choice a layer is taken, so that is a constant); then scores are spread over 0..1000
 * and every row is divided by the room it leaves. Choices that a row has no room for are marked
 * impossible, not left to a solver's tolerance.
 */
export interface Scaled {
  /** scores[layer][choice] */
  scores: number[][];
  /** Original score = scaled / scoreFactor + scoreOffset. */
  scoreFactor: number;
  scoreOffset: number;
  rows: ScaledRow[];
  /** possible[layer][choice] */
  possible: boolean[][];
}

export interface ScaledRow {
  costs: number[][];
  lower: number;
  upper: number;
  /** A multiplier of the original row = the solver's * multiplierFactor. */
  multiplierFactor: number;
}

const scoreSpan = 1000;

export function scale(problem: ChoiceProblem): Scaled {
  const least = problem.scores.map((scores) => Math.min(...scores));
  const above = subtract(problem.scores, least);
  const spread = largest(above);
  const scoreFactor = spread > 0 ? scoreSpan / spread : 1;
  return {
    scores: above.map((scores) => scores.map((score) => score * scoreFactor)),
    scoreFactor,
    scoreOffset: sum(least),
    rows: problem.rows.map((row) => scaleRow(row, scoreFactor)),
    possible: possibleChoices(problem),
  };
}

function scaleRow(row: Row, scoreFactor: number): ScaledRow {
  const sign = row.sense === 'at_least' ? -1 : 1;
  const signed = row.costs.map((costs) => costs.map((cost) => sign * cost));
  const least = signed.map((costs) => Math.min(...costs));
  const above = subtract(signed, least);
  const room = sign * row.limit - sum(least);
  const allowed = room + tolerance(row);
  if (row.sense === 'exactly') return exactRow(above, room, { scoreFactor, tolerance: tolerance(row) });
  const divisor = allowed > 0 ? allowed : 1;
  const costs = above.map((layer) => layer.map((cost) => (cost > allowed ? 0 : cost / divisor)));
  return {
    costs,
    lower: -Infinity,
    upper: allowed < 0 ? -1 : 1,
    multiplierFactor: 1 / (scoreFactor * divisor),
  };
}

function exactRow(
  above: number[][],
  room: number,
  given: { scoreFactor: number; tolerance: number },
): ScaledRow {
  const most = largest(above);
  const divisor = most > 0 ? most : 1;
  // A row whose cost no choice changes holds or fails whatever is chosen: 0 = 0, or 0 = 1.
  const target = most > 0 ? room / divisor : Math.abs(room) <= given.tolerance ? 0 : 1;
  const costs = above.map((layer) => layer.map((cost) => cost / divisor));
  return { costs, lower: target, upper: target, multiplierFactor: 1 / (given.scoreFactor * divisor) };
}

/** A scaled objective in the original unit of the scores. */
export function originalScore(scaled: Scaled, objective: number): number {
  return objective / scaled.scoreFactor + scaled.scoreOffset;
}

function subtract(table: readonly (readonly number[])[], least: readonly number[]): number[][] {
  return table.map((values, layer) => values.map((value) => value - (least[layer] ?? 0)));
}

function largest(table: readonly (readonly number[])[]): number {
  return table.reduce((most, values) => Math.max(most, ...values), 0);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
