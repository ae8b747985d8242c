import { at, excess, tolerance, usage, type ChoiceProblem, type Picks } from './problem.ts';

/**
 * Exchanges choices of one layer, then of two, as long as the exact sum of scores falls and every
 * row holds; at equal score the earlier choice wins, in the earlier layer first. It catches what a
 * solver's tolerance hid (a difference of 1e-12 of the largest score is nothing to a solver), and makes
 * ties come out the same on every machine. It never makes an answer worse.
 */
export function improve(problem: ChoiceProblem, start: Picks): number[] {
  return improved(problem, start, (state) => improveOne(state) || improveTwo(state));
}

/** The same with exchanges of one layer only: a first look that costs little. */
export function improveSingly(problem: ChoiceProblem, start: Picks): number[] {
  return improved(problem, start, improveOne);
}

function improved(problem: ChoiceProblem, start: Picks, step: (state: State) => boolean): number[] {
  const picks = [...start];
  const state: State = {
    problem,
    picks,
    used: problem.rows.map((row) => usage(row, picks)),
    tolerances: problem.rows.map(tolerance),
  };
  let rounds = 0;
  while (rounds < maximumRounds && step(state)) rounds++;
  return picks;
}

/** Every exchange lowers the score or the order of choices, so this is never reached; it bounds a bug. */
const maximumRounds = 1000;

/** Pairs grow with the square: 2,000 choices are 2 million exchanges, half a second. */
const mostChoicesForPairs = 2000;

interface State {
  problem: ChoiceProblem;
  picks: number[];
  used: number[];
  tolerances: number[];
}

interface Exchange {
  layer: number;
  to: number;
}

/** One pass over all single exchanges; true when any was taken. */
function improveOne(state: State): boolean {
  let isBetter = false;
  for (const [layer, scores] of state.problem.scores.entries()) {
    for (const to of scores.keys()) isBetter = tryExchange(state, [{ layer, to }]) || isBetter;
  }
  return isBetter;
}

function improveTwo(state: State): boolean {
  const { scores } = state.problem;
  if (scores.flat().length > mostChoicesForPairs) return false;
  let isBetter = false;
  for (let first = 0; first < scores.length; first++) {
    for (let second = first + 1; second < scores.length; second++) {
      isBetter = improvePair(state, first, second) || isBetter;
    }
  }
  return isBetter;
}

function improvePair(state: State, first: number, second: number): boolean {
  let isBetter = false;
  for (const firstTo of state.problem.scores[first]?.keys() ?? []) {
    for (const secondTo of state.problem.scores[second]?.keys() ?? []) {
      const pair = [
        { layer: first, to: firstTo },
        { layer: second, to: secondTo },
      ];
      isBetter = tryExchange(state, pair) || isBetter;
    }
  }
  return isBetter;
}

function tryExchange(state: State, exchanges: readonly Exchange[]): boolean {
  let before = 0;
  let after = 0;
  let order = 0;
  for (const { layer, to } of exchanges) {
    const from = state.picks[layer] ?? 0;
    if (from === to) return false;
    before += at(state.problem.scores, layer, from);
    after += at(state.problem.scores, layer, to);
    if (order === 0) order = to - from;
  }
  if (after > before || (after === before && order >= 0)) return false;
  const changes = state.problem.rows.map((row) =>
    exchanges.reduce(
      (sum, { layer, to }) => sum + at(row.costs, layer, to) - at(row.costs, layer, state.picks[layer] ?? 0),
      0,
    ),
  );
  const holds = state.problem.rows.every(
    (row, index) =>
      excess(row, (state.used[index] ?? 0) + (changes[index] ?? 0)) <= (state.tolerances[index] ?? 0),
  );
  if (!holds) return false;
  for (const { layer, to } of exchanges) state.picks[layer] = to;
  state.used = state.problem.rows.map((row) => usage(row, state.picks));
  return true;
}
