import {
  at,
  excess,
  isFeasible,
  tolerance,
  usage,
  type ChoiceProblem,
  type Picks,
  type Row,
} from './problem.ts';

/**
 * From any picks to ones that hold every row, by the step with the least score a unit of relief each time;
 * undefined where no step relieves any more. `scores` are the problem's own when absent.
 */
export function repair(
  problem: ChoiceProblem,
  start: Picks,
  scores: readonly (readonly number[])[] = problem.scores,
): number[] | undefined {
  const picks = [...start];
  const tolerances = problem.rows.map(tolerance);
  for (let steps = 0; steps < mostSteps; steps++) {
    if (isFeasible(problem, picks)) return picks;
    const step = bestStep({ problem, picks, scores, tolerances });
    if (step === undefined) return undefined;
    picks[step.layer] = step.choice;
  }
  return undefined;
}

/** Every step lessens the lack, so this bounds rounding only. */
const mostSteps = 10_000;

interface State {
  problem: ChoiceProblem;
  picks: Picks;
  scores: readonly (readonly number[])[];
  tolerances: readonly number[];
}

export interface Step {
  layer: number;
  choice: number;
}

function bestStep({ problem, picks, scores, tolerances }: State): Step | undefined {
  const used = problem.rows.map((row) => usage(row, picks));
  const lackAt = (step: Step | undefined): number =>
    problem.rows.reduce((sum, row, index) => {
      const change =
        step === undefined
          ? 0
          : at(row.costs, step.layer, step.choice) - at(row.costs, step.layer, picks[step.layer] ?? 0);
      return sum + lack(row, (used[index] ?? 0) + change, tolerances[index] ?? 0);
    }, 0);
  const before = lackAt(undefined);
  let best: Step | undefined;
  let least = Infinity;
  for (const [layer, options] of scores.entries()) {
    for (const [choice, score] of options.entries()) {
      if (choice === picks[layer]) continue;
      const relief = before - lackAt({ layer, choice });
      if (relief <= 1e-15) continue;
      const price = (score - at(scores, layer, picks[layer] ?? 0)) / relief;
      if (price < least) [least, best] = [price, { layer, choice }];
    }
  }
  return best;
}

/** How far the rows are from holding, each as a share of its own span. */
export function lackOf(problem: ChoiceProblem, picks: Picks): number {
  return problem.rows.reduce((sum, row) => sum + lack(row, usage(row, picks), tolerance(row)), 0);
}

function lack(row: Row, used: number, slack: number): number {
  const over = excess(row, used);
  return over <= slack ? 0 : over / Math.max(Math.abs(row.limit), slack / 1e-9, 1e-300);
}

export function taken(picks: Picks, { layer, choice }: Step): number[] {
  return picks.map((pick, index) => (index === layer ? choice : pick));
}
