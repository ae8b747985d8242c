import loadHighsModule, { type Highs, type Model } from 'highs';
import { checkProblem, isFeasible, valueOf, type ChoiceProblem, type Picks } from './problem.ts';
import { improve } from './polish.ts';
import { originalScore, scale, type Scaled } from './scaling.ts';

/** How a solve ended. The four are different things, and only `optimal` is a proof. */
export type Outcome =
  | { kind: 'optimal'; picks: Picks; value: number; bound: number; seconds: number }
  | { kind: 'feasible'; picks: Picks; value: number; bound: number; seconds: number }
  | { kind: 'infeasible'; seconds: number }
  | { kind: 'none-in-time'; bound: number | null; seconds: number };

/** The linear relaxation: its value, and a multiplier a row (score per unit of the row; free sign on `exactly`). */
export type Relaxation = { kind: 'solved'; value: number; multipliers: number[] } | { kind: 'infeasible' };

export interface Solver {
  solve: (problem: ChoiceProblem, timeLimitSeconds: number) => Outcome;
  relax: (problem: ChoiceProblem) => Relaxation;
}

/** Takes a clock in milliseconds, so that this folder reads none. Loading the solver takes about 60 ms. */
export async function openSolver(nowMs: () => number): Promise<Solver> {
  // The package's types describe its CommonJS half; imported as a module, the function itself is the default.
  const load = loadHighsModule as unknown as typeof loadHighsModule.default;
  const highs = await load({ print: () => undefined, printErr: () => undefined });
  return {
    solve: (problem, timeLimitSeconds) => solve({ highs, nowMs }, problem, timeLimitSeconds),
    relax: (problem) => relax(highs, problem),
  };
}

const options = {
  output_flag: false,
  mip_rel_gap: 0,
  mip_abs_gap: 1e-9,
  mip_feasibility_tolerance: 1e-9,
  primal_feasibility_tolerance: 1e-9,
  dual_feasibility_tolerance: 1e-9,
  random_seed: 1,
};

function solve(
  { highs, nowMs }: { highs: Highs; nowMs: () => number },
  problem: ChoiceProblem,
  timeLimitSeconds: number,
): Outcome {
  checkProblem(problem);
  const started = nowMs();
  const scaled = scale(problem);
  const seconds = (): number => (nowMs() - started) / 1000;
  if (scaled.possible.some((choices) => !choices.includes(true)))
    return { kind: 'infeasible', seconds: seconds() };
  return withModel(highs, { problem, scaled, integer: true }, (model) => {
    model.options.set({ ...options, time_limit: timeLimitSeconds });
    const { modelStatus } = model.run();
    const status = highs.constants.modelStatus;
    if (modelStatus === status.infeasible || modelStatus === status.unboundedOrInfeasible) {
      return { kind: 'infeasible', seconds: seconds() };
    }
    if (modelStatus !== status.optimal && modelStatus !== status.timeLimit) {
      throw new Error(`bug: the solver ended with status ${modelStatus}`);
    }
    const dual = Number(model.info.get('mip_dual_bound'));
    const bound = Number.isFinite(dual) && Math.abs(dual) < 1e300 ? originalScore(scaled, dual) : null;
    if (Number(model.info.get('primal_solution_status')) !== highs.constants.solutionStatus.feasible) {
      return { kind: 'none-in-time', bound, seconds: seconds() };
    }
    const picks = improve(problem, readPicks(problem, model.getSolution().colValue));
    const value = valueOf(problem, picks);
    const kind = modelStatus === status.optimal ? 'optimal' : 'feasible';
    return { kind, picks, value, bound: Math.min(value, bound ?? -Infinity), seconds: seconds() };
  });
}

function relax(highs: Highs, problem: ChoiceProblem): Relaxation {
  checkProblem(problem);
  const scaled = scale(problem);
  if (scaled.possible.some((choices) => !choices.includes(true))) return { kind: 'infeasible' };
  return withModel(highs, { problem, scaled, integer: false }, (model) => {
    model.options.set(options);
    if (model.run().modelStatus !== highs.constants.modelStatus.optimal) return { kind: 'infeasible' };
    const duals = model.getSolution().rowDual;
    const multipliers = problem.rows.map((row, index) => {
      // The solver's dual is d(score)/d(limit), which is at most 0 on a row of the form <=.
      const multiplier =
        -(duals[problem.layers.length + index] ?? 0) * (scaled.rows[index]?.multiplierFactor ?? 0);
      return row.sense === 'exactly' ? multiplier : Math.max(0, multiplier);
    });
    return { kind: 'solved', value: originalScore(scaled, model.getObjectiveValue()), multipliers };
  });
}

function readPicks(problem: ChoiceProblem, values: Float64Array): number[] {
  let column = 0;
  const picks = problem.scores.map((scores) => {
    const taken = scores.findIndex((_, choice) => (values[column + choice] ?? 0) > 0.5);
    column += scores.length;
    if (taken < 0) throw new Error('bug: the solver left a layer without a choice');
    return taken;
  });
  if (!isFeasible(problem, picks))
    throw new Error("bug: the solver's answer breaks a row by more than its tolerance");
  return picks;
}

interface Input {
  problem: ChoiceProblem;
  scaled: Scaled;
  integer: boolean;
}

/** Builds the model row-wise: one row a layer (its choices sum to 1), then the problem's rows. */
function withModel<T>(highs: Highs, { problem, scaled, integer }: Input, use: (model: Model) => T): T {
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
