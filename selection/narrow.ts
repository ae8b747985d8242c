import { lagrangianBound, reducedScores } from './certificate.ts';
import { improve, improveSingly } from './polish.ts';
import { restrict, valueOf, type ChoiceProblem, type Picks, type Restricted } from './problem.ts';
import { repair } from './repair.ts';
import type { Relaxation } from './solver.ts';

/** What is left of a problem once the bound has ruled out what is in no better selection. */
export interface Narrowed {
  /** No selection is better; null when the relaxation was not solved. */
  bound: number | null;
  /** A selection that holds every row, if one was found on the way. */
  known: Picks | undefined;
  left: Restricted;
}

/**
 * Reduced-cost fixing: a choice can be in a better selection than the known one only if the bound, raised by the
 * choice's reduced score, stays below that one's score. Scores, rows and bound are exact doubles, not the solver's.
 */
export function narrow(problem: ChoiceProblem, relaxation: Relaxation): Narrowed {
  const all = restrict(problem, () => true);
  if (relaxation.kind === 'infeasible') return { bound: null, known: undefined, left: all };
  const reduced = reducedScores(problem, relaxation.multipliers);
  const bound = lagrangianBound(problem, relaxation.multipliers);
  if (!Number.isFinite(bound)) return { bound: null, known: undefined, left: all };
  const start = reduced.map((scores) => scores.indexOf(Math.min(...scores)));
  const repaired = repair(problem, start, reduced);
  if (repaired === undefined) return { bound, known: undefined, left: all };
  const fix = (known: Picks): Restricted => {
    const room = valueOf(problem, known) - bound + rounding(problem);
    const least = reduced.map((scores) => Math.min(...scores));
    return restrict(problem, (layer, choice) => {
      const extra = (reduced[layer]?.[choice] ?? Infinity) - (least[layer] ?? 0);
      return extra <= room || choice === known[layer];
    });
  };
  const first = improveSingly(problem, repaired);
  const near = fix(first);
  const picksLeft = near.of(first);
  const known = picksLeft === undefined ? first : near.original(improve(near.problem, picksLeft));
  return { bound, known, left: fix(known) };
}

/** Sums of doubles differ by their order: choices that close to the edge stay in. */
function rounding(problem: ChoiceProblem): number {
  return 1e-9 * Math.max(1e-300, ...problem.scores.map((scores) => Math.max(...scores.map(Math.abs))));
}
