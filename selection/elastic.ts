import type { Highs } from 'highs';
import { at, checkProblem, tolerance, usage, type ChoiceProblem, type Row } from './problem.ts';

/** What one row gives so that all can hold. */
export interface TogetherGiven {
  name: string;
  unit: string;
  sense: Row['sense'];
  limit: number;
  needed: number;
}

/**
 * An elastic model: each row may be broken at a price, a share of its own limit; the least sum of shares. (HiGHS
 * has a function for it, which throws on mixed-integer models; 1.15.)
 */
export function giveTogether(
  highs: Highs,
  problem: ChoiceProblem,
  options: Record<string, number | boolean>,
): TogetherGiven[] | undefined {
  checkProblem(problem);
  const columns = problem.scores.flatMap((scores, layer) => scores.map((_, choice) => ({ layer, choice })));
  const breaks = problem.rows.flatMap((row, index) =>
    (row.sense === 'exactly' ? [1, -1] : [row.sense === 'at_least' ? -1 : 1]).map((sign) => ({
      row,
      index,
      sign,
    })),
  );
  const starts = [0];
  const [indices, values]: [number[], number[]] = [[], []];
  const put = (column: number, value: number): void => {
    if (value === 0) return;
    indices.push(column);
    values.push(value);
  };
  for (const own of problem.layers.keys()) {
    for (const [column, { layer }] of columns.entries()) put(column, layer === own ? 1 : 0);
    starts.push(indices.length);
  }
  for (const [slack, { row, sign }] of breaks.entries()) {
    const span = spanOf(row);
    for (const [column, { layer, choice }] of columns.entries())
      put(column, (sign * at(row.costs, layer, choice)) / span);
    put(columns.length + slack, -1);
    starts.push(indices.length);
  }
  const ones = problem.layers.map(() => 1);
  const numCols = columns.length + breaks.length;
  const numRows = ones.length + breaks.length;
  const model = highs.createModel({
    numCols,
    numRows,
    colCost: [...columns.map(() => 0), ...breaks.map(() => 1)],
    colLower: Array.from({ length: numCols }, () => 0),
    colUpper: [...columns.map(() => 1), ...breaks.map(() => highs.infinity)],
    rowLower: [...ones, ...breaks.map(() => -highs.infinity)],
    rowUpper: [...ones, ...breaks.map(({ row, sign }) => (sign * row.limit) / spanOf(row))],
    matrix: { format: 'csr', numRows, numCols, starts, indices, values },
    integrality: [...columns.map(() => 1 as const), ...breaks.map(() => 0 as const)],
  });
  try {
    model.options.set(options);
    const { modelStatus } = model.run();
    const { optimal, timeLimit } = highs.constants.modelStatus;
    const isFound =
      Number(model.info.get('primal_solution_status')) === highs.constants.solutionStatus.feasible;
    if ((modelStatus !== optimal && modelStatus !== timeLimit) || !isFound) return undefined;
    return readGiven(problem, model.getSolution().colValue);
  } finally {
    model.dispose();
  }
}

function readGiven(problem: ChoiceProblem, values: Float64Array): TogetherGiven[] {
  let column = 0;
  const picks = problem.scores.map((scores) => {
    const taken = scores.findIndex((_, choice) => (values[column + choice] ?? 0) > 0.5);
    column += scores.length;
    return Math.max(0, taken);
  });
  return problem.rows.flatMap((row) => {
    const used = usage(row, picks);
    const isBroken =
      (row.sense !== 'at_least' && used > row.limit + tolerance(row)) ||
      (row.sense !== 'at_most' && used < row.limit - tolerance(row));
    const { name, unit, sense, limit } = row;
    return isBroken ? [{ name, unit, sense, limit, needed: used }] : [];
  });
}

/** A row of limit 0 is measured by its largest cost. */
function spanOf(row: Row): number {
  if (row.limit !== 0) return Math.abs(row.limit);
  return Math.max(1e-300, ...row.costs.map((costs) => Math.max(...costs.map(Math.abs))));
}
