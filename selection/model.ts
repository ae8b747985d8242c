import type { Highs, Model } from 'highs';
import type { ChoiceProblem } from './problem.ts';
import type { Scaled } from './scaling.ts';

export interface ModelInput {
  problem: ChoiceProblem;
  scaled: Scaled;
  integer: boolean;
}

/** Builds the model row-wise: one row a layer (its choices sum to 1), then the problem's rows. */
export function withModel<T>(
  highs: Highs,
  { problem, scaled, integer }: ModelInput,
  use: (model: Model) => T,
): T {
  const columns = scaled.scores.flatMap((scores, layer) => scores.map((_, choice) => ({ layer, choice })));
  const starts: number[] = [0];
  const indices: number[] = [];
  const values: number[] = [];
  const addRow = (coefficient: (layer: number, choice: number) => number): void => {
    for (const [column, { layer, choice }] of columns.entries()) {
      const value = coefficient(layer, choice);
      if (value === 0) continue;
      indices.push(column);
      values.push(value);
    }
    starts.push(indices.length);
  };
  for (let own = 0; own < problem.layers.length; own++) addRow((layer) => (layer === own ? 1 : 0));
  for (const row of scaled.rows) addRow((layer, choice) => row.costs[layer]?.[choice] ?? 0);
  const ones = problem.layers.map(() => 1);
  const numRows = ones.length + scaled.rows.length;
  const model = highs.createModel({
    numCols: columns.length,
    numRows,
    colCost: scaled.scores.flat(),
    colLower: columns.map(() => 0),
    colUpper: scaled.possible.flat().map((isPossible) => (isPossible ? 1 : 0)),
    rowLower: [...ones, ...scaled.rows.map((row) => (row.lower === -Infinity ? -highs.infinity : row.lower))],
    rowUpper: [...ones, ...scaled.rows.map((row) => row.upper)],
    matrix: { format: 'csr', numRows, numCols: columns.length, starts, indices, values },
    ...(integer ? { integrality: columns.map(() => 1 as const) } : {}),
  });
  try {
    return use(model);
  } finally {
    model.dispose();
  }
}
