import loadHighsModule, { type Highs } from 'highs';
import { giveTogether, type TogetherGiven } from './elastic.ts';
import { withModel } from './model.ts';
import { narrow } from './narrow.ts';
import { improve } from './polish.ts';
import { checkProblem, isFeasible, valueOf, type ChoiceProblem, type Picks } from './problem.ts';
import { originalScore, scale } from './scaling.ts';

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
  /** The choices that break all rows together by least, each break as a share of its row's limit. */
  elastic: (problem: ChoiceProblem, timeLimitSeconds: number) => TogetherGiven[] | undefined;
}

/** Takes a clock in milliseconds, so that this folder reads none. Loading the solver takes about 60 ms. */
export async function openSolver(nowMs: () => number): Promise<Solver> {
  // The package's types describe its CommonJS half; imported as a module, the function itself is the default.
  const load = loadHighsModule as unknown as typeof loadHighsModule.default;
  const highs = await load({ print: () => undefined, printErr: () => undefined });
  return {
    solve: (problem, timeLimitSeconds) => solve({ highs, nowMs }, problem, timeLimitSeconds),
    relax: (problem) => relax(highs, problem),
    elastic: (problem, timeLimitSeconds) =>
      giveTogether(highs, problem, { ...options, time_limit: timeLimitSeconds }),
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

/**
 * The relaxation's multipliers rule out most choices before the program is built (nine in ten, as a rule):
 * a choice whose bound alone is above a selection that is known already is in no better one.
 */
function solve(
  { highs, nowMs }: { highs: Highs; nowMs: () => number },
  problem: ChoiceProblem,
  timeLimitSeconds: number,
): Outcome {
  checkProblem(problem);
  const started = nowMs();
  const seconds = (): number => (nowMs() - started) / 1000;
  const { bound: lagrangian, known, left } = narrow(problem, relax(highs, problem));
  const ended = branch(highs, left.problem, Math.max(0, timeLimitSeconds - seconds()));
  const bound = ended.bound === null ? lagrangian : Math.max(lagrangian ?? -Infinity, ended.bound);
  if (ended.picks === undefined && known === undefined) {
    if (ended.isComplete) return { kind: 'infeasible', seconds: seconds() };
    return { kind: 'none-in-time', bound, seconds: seconds() };
  }
  const picks = bestOf(problem, [
    known,
    ended.picks === undefined ? undefined : left.original(improve(left.problem, ended.picks)),
  ]);
  const value = valueOf(problem, picks);
  const kind = ended.isComplete ? 'optimal' : 'feasible';
  return { kind, picks, value, bound: Math.min(value, bound ?? -Infinity), seconds: seconds() };
}

/** The later one at equal score: it went through the same tie-breaks as any other answer. */
function bestOf(problem: ChoiceProblem, found: readonly (Picks | undefined)[]): Picks {
  const some = found.filter((picks) => picks !== undefined);
  return some.reduce((best, picks) => (valueOf(problem, picks) <= valueOf(problem, best) ? picks : best));
}

/** `isComplete`: the program was solved to its end, so no picks means that there are none. */
interface Branched {
  picks: Picks | undefined;
  bound: number | null;
  isComplete: boolean;
}

function branch(highs: Highs, problem: ChoiceProblem, timeLimitSeconds: number): Branched {
  const scaled = scale(problem);
  const nothing: Branched = { picks: undefined, bound: null, isComplete: true };
  if (scaled.possible.some((choices) => !choices.includes(true))) return nothing;
  return withModel(highs, { problem, scaled, integer: true }, (model) => {
    model.options.set({ ...options, time_limit: timeLimitSeconds });
    const { modelStatus } = model.run();
    const status = highs.constants.modelStatus;
    if (modelStatus === status.infeasible || modelStatus === status.unboundedOrInfeasible) return nothing;
    if (modelStatus !== status.optimal && modelStatus !== status.timeLimit) {
      throw new Error(`bug: the solver ended with status ${modelStatus}`);
    }
    const dual = Number(model.info.get('mip_dual_bound'));
    const bound = Number.isFinite(dual) && Math.abs(dual) < 1e300 ? originalScore(scaled, dual) : null;
    const isFound =
      Number(model.info.get('primal_solution_status')) === highs.constants.solutionStatus.feasible;
    return {
      picks: isFound ? readPicks(problem, model.getSolution().colValue) : undefined,
      bound,
      isComplete: modelStatus === status.optimal,
    };
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
