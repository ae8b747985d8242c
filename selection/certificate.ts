import {
  at,
  excess,
  possibleChoices,
  tolerance,
  usage,
  valueOf,
  type ChoiceProblem,
  type Picks,
} from './problem.ts';

/**
 * A bound that needs no solver to check: for any multipliers (at least 0; of either sign on
 * `exactly` rows),
 *
 *     LB = sum over layers of min over choices of (score + multipliers . cost) - multipliers . limit
 *
 * is at most the score of every feasible choice. The minimum leaves out choices that a row has no
 * room for. With the duals of the linear relaxation it equals that relaxation's value.
 */
export function lagrangianBound(problem: ChoiceProblem, multipliers: readonly number[]): number {
  const reduced = reducedScores(problem, multipliers);
  return reduced.reduce((sum, scores) => sum + Math.min(...scores), 0) - constantOf(problem, multipliers);
}

/** What re-checking a proof found. `proven`: no feasible choice is better than `value` by more than rounding. */
export interface CertificateCheck {
  feasible: boolean;
  value: number;
  bound: number;
  gap: number;
  /** Choices that the bound alone shows to be in no better answer, of all choices. */
  excluded: number;
  choices: number;
  /** `proven` by search over what is left, or `open` when that search was cut short. */
  optimality: 'proven' | 'open' | 'refuted';
  /** A strictly better feasible choice, when the search found one. */
  better: { picks: Picks; value: number } | null;
}

export interface CertificateOptions {
  multipliers: readonly number[];
  /** Partial choices the search may look at before it gives up. */
  maximumNodes: number;
}

export function checkCertificate(
  problem: ChoiceProblem,
  picks: Picks,
  options: CertificateOptions,
): CertificateCheck {
  const { multipliers, maximumNodes } = options;
  for (const [index, row] of problem.rows.entries()) {
    if (row.sense !== 'exactly' && (multipliers[index] ?? 0) < 0)
      throw new RangeError(`${row.name}: negative multiplier`);
  }
  const value = valueOf(problem, picks);
  const reduced = reducedScores(problem, multipliers);
  const least = reduced.map((scores) => Math.min(...scores));
  const bound = least.reduce((sum, score) => sum + score, 0) - constantOf(problem, multipliers);
  const rounding =
    1e-12 * Math.max(1e-300, ...problem.scores.map((scores) => Math.max(...scores.map(Math.abs))));
  const open = reduced.map((scores, layer) =>
    scores
      .map((score, choice) => ({ choice, extra: score - (least[layer] ?? 0) }))
      .filter(({ extra }) => bound + extra < value - rounding),
  );
  const choices = problem.scores.reduce((sum, scores) => sum + scores.length, 0);
  const excluded = choices - open.reduce((sum, layer) => sum + layer.length, 0);
  const search = searchBetter({ problem, open, bound, value, rounding, maximumNodes });
  return {
    feasible: problem.rows.every((row) => excess(row, usage(row, picks)) <= tolerance(row)),
    value,
    bound: Math.min(bound, value),
    gap: value - Math.min(bound, value),
    excluded,
    choices,
    ...search,
  };
}

interface Search {
  problem: ChoiceProblem;
  open: readonly (readonly { choice: number; extra: number }[])[];
  bound: number;
  value: number;
  rounding: number;
  maximumNodes: number;
}

/** Depth first over the choices that are left; cut by the bound and by the least each row can still use. */
function searchBetter(search: Search): Pick<CertificateCheck, 'optimality' | 'better'> {
  const { problem, open, bound, value, rounding } = search;
  if (open.some((layer) => layer.length === 0)) return { optimality: 'proven', better: null };
  const ordered = open.map((layer) => [...layer].sort((a, b) => a.extra - b.extra || a.choice - b.choice));
  const limits = rowLimits(problem, ordered);
  const picks: number[] = problem.scores.map(() => 0);
  let nodes = 0;
  const found: { picks: Picks; value: number }[] = [];
  const visit = (layer: number, extra: number, used: readonly number[]): boolean => {
    if (layer === ordered.length) {
      const reached = valueOf(problem, picks);
      if (reached < value - rounding) found.push({ picks: [...picks], value: reached });
      return found.length === 0;
    }
    for (const option of ordered[layer] ?? []) {
      if (bound + extra + option.extra >= value - rounding) return true;
      if (++nodes > search.maximumNodes) return false;
      const next = problem.rows.map((row, index) => (used[index] ?? 0) + at(row.costs, layer, option.choice));
      if (!limits.every((limit, index) => limit(layer + 1, next[index] ?? 0))) continue;
      picks[layer] = option.choice;
      if (!visit(layer + 1, extra + option.extra, next)) return false;
    }
    return true;
  };
  const isComplete = visit(
    0,
    0,
    problem.rows.map(() => 0),
  );
  const better = found[0] ?? null;
  return { optimality: better !== null ? 'refuted' : isComplete ? 'proven' : 'open', better };
}

/** For each row: can it still hold, given what the layers before `layer` use? */
function rowLimits(
  problem: ChoiceProblem,
  open: readonly (readonly { choice: number }[])[],
): ((layer: number, used: number) => boolean)[] {
  return problem.rows.map((row) => {
    const rest: { least: number; most: number }[] = [{ least: 0, most: 0 }];
    for (let layer = open.length - 1; layer >= 0; layer--) {
      const costs = (open[layer] ?? []).map(({ choice }) => at(row.costs, layer, choice));
      const after = rest[0] ?? { least: 0, most: 0 };
      rest.unshift({ least: after.least + Math.min(...costs), most: after.most + Math.max(...costs) });
    }
    const slack = tolerance(row);
    return (layer, used) => {
      const { least, most } = rest[layer] ?? { least: 0, most: 0 };
      const tooMuch = row.sense !== 'at_least' && used + least > row.limit + slack;
      const tooLittle = row.sense !== 'at_most' && used + most < row.limit - slack;
      return !tooMuch && !tooLittle;
    };
  });
}

/** score + multipliers . cost, with the sign that each row's sense asks for; infinite where no row has room. */
export function reducedScores(problem: ChoiceProblem, multipliers: readonly number[]): number[][] {
  const possible = possibleChoices(problem);
  return problem.scores.map((scores, layer) =>
    scores.map((score, choice) =>
      possible[layer]?.[choice] === true
        ? problem.rows.reduce(
            (sum, row, index) =>
              sum + signed(row.sense) * (multipliers[index] ?? 0) * at(row.costs, layer, choice),
            score,
          )
        : Infinity,
    ),
  );
}

function constantOf(problem: ChoiceProblem, multipliers: readonly number[]): number {
  return problem.rows.reduce(
    (sum, row, index) => sum + signed(row.sense) * (multipliers[index] ?? 0) * row.limit,
    0,
  );
}

function signed(sense: 'at_most' | 'at_least' | 'exactly'): number {
  return sense === 'at_least' ? -1 : 1;
}
