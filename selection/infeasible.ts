import { excess, usage, type ChoiceProblem, type Picks, type Row } from './problem.ts';
import type { TogetherGiven } from './elastic.ts';
import type { Solver } from './solver.ts';

/** Why nothing satisfies all rows: the first that applies. */
export type Conflict =
  | {
      kind: 'impossible';
      rows: { name: string; unit: string; sense: Row['sense']; limit: number; best: number }[];
    }
  | { kind: 'conflict'; rows: string[]; give: Give[]; together: TogetherGiven[] };

/** What one row would have to give for the others to hold; null when it alone is not enough. */
export interface Give {
  name: string;
  unit: string;
  limit: number;
  needed: number | null;
}

const checkSeconds = 10;

/** Called once a solver has said infeasible; asks it small questions until the reason is known. */
export function explainInfeasible(solver: Solver, problem: ChoiceProblem): Conflict {
  const impossible = problem.rows.filter((row) => !holdsTogether(solver, problem, [row]));
  if (impossible.length > 0) {
    const rows = impossible.map((row) => ({
      name: row.name,
      unit: row.unit,
      sense: row.sense,
      limit: row.limit,
      best: nearest(solver, problem, { row, others: [] })?.used ?? NaN,
    }));
    return { kind: 'impossible', rows };
  }
  const rows = smallestConflict(solver, problem);
  const give = rows.map((row) => {
    const others = problem.rows.filter((other) => other !== row);
    const found = nearest(solver, problem, { row, others });
    return { name: row.name, unit: row.unit, limit: row.limit, needed: found?.used ?? null };
  });
  const together = solver.elastic(problem, checkSeconds) ?? [];
  return { kind: 'conflict', rows: rows.map((row) => row.name), give, together };
}

export function describeConflict(conflict: Conflict): string {
  if (conflict.kind === 'impossible') {
    const lines = conflict.rows.map(
      (row) =>
        `${row.name}: ${words[row.sense]} ${figure(row.limit)} ${row.unit}, but the nearest any choice comes is ${figure(row.best)}`,
    );
    return `no selection exists: impossible even alone\n  ${lines.join('\n  ')}`;
  }
  const lines = conflict.give.map((give) =>
    give.needed === null
      ? `${give.name}: giving way here alone is not enough`
      : `${give.name}: ${figure(give.limit)} ${give.unit} would have to become ${figure(give.needed)}`,
  );
  const together = conflict.together.map(
    ({ name, unit, sense, limit, needed }) =>
      `${name}: ${words[sense]} ${figure(limit)} would have to become ${figure(needed)} ${unit}`,
  );
  return [
    `no selection exists: each of ${conflict.rows.join(', ')} can hold, but not together`,
    '  one gives way alone:',
    ...lines.map((line) => `    ${line}`),
    ...(together.length === 0
      ? []
      : ['  or, with the least given in all:', ...together.map((line) => `    ${line}`)]),
  ].join('\n');
}

const words: Readonly<Record<Row['sense'], string>> = {
  at_most: 'at most',
  at_least: 'at least',
  exactly: 'exactly',
};

/** Sizes up to three by trying all, so that they are the smallest; larger ones by leaving rows out one at a time. */
function smallestConflict(solver: Solver, problem: ChoiceProblem): Row[] {
  for (const size of [2, 3]) {
    for (const rows of subsets(problem.rows, size)) if (!holdsTogether(solver, problem, rows)) return rows;
  }
  let rows = [...problem.rows];
  for (const row of problem.rows) {
    const without = rows.filter((other) => other !== row);
    if (!holdsTogether(solver, problem, without)) rows = without;
  }
  return rows;
}

function holdsTogether(solver: Solver, problem: ChoiceProblem, rows: readonly Row[]): boolean {
  return solver.solve({ ...feasibilityOnly(problem), rows }, checkSeconds).kind !== 'infeasible';
}

/** The choice that keeps the other rows and comes nearest to this row's limit. */
function nearest(
  solver: Solver,
  problem: ChoiceProblem,
  { row, others }: { row: Row; others: readonly Row[] },
): { used: number; picks: Picks } | undefined {
  const directions = row.sense === 'at_most' ? [1] : row.sense === 'at_least' ? [-1] : [1, -1];
  let best: { used: number; picks: Picks } | undefined;
  for (const direction of directions) {
    // For `exactly`, the side from which the limit is approached is itself a row.
    const side: Row = { ...row, sense: direction === 1 ? 'at_least' : 'at_most' };
    const rows = row.sense === 'exactly' ? [...others, side] : others;
    const outcome = solver.solve(
      { ...problem, scores: row.costs.map((costs) => costs.map((cost) => direction * cost)), rows },
      checkSeconds,
    );
    if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') continue;
    const used = usage(row, outcome.picks);
    if (best === undefined || excess(row, used) < excess(row, best.used))
      best = { used, picks: outcome.picks };
  }
  return best;
}

function feasibilityOnly(problem: ChoiceProblem): ChoiceProblem {
  return { ...problem, scores: problem.scores.map((scores) => scores.map(() => 0)) };
}

function* subsets<T>(items: readonly T[], size: number, from = 0): Generator<T[]> {
  if (size === 0) {
    yield [];
    return;
  }
  for (let index = from; index < items.length; index++) {
    const item = items[index];
    if (item === undefined) continue;
    for (const rest of subsets(items, size - 1, index + 1)) yield [item, ...rest];
  }
}

function figure(value: number): string {
  return Number(value.toPrecision(6)).toString();
}
