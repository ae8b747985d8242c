import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkCertificate, lagrangianBound } from '../../selection/certificate.ts';
import {
  isFeasible,
  restrict,
  usage,
  valueOf,
  type ChoiceProblem,
  type Picks,
} from '../../selection/problem.ts';
import { openSolver, type Solver } from '../../selection/solver.ts';

let solver: Solver;
beforeAll(async () => {
  solver = await openSolver(() => performance.now());
});

/** Every combination: the obvious reference. */
function bruteForce(problem: ChoiceProblem): { picks: Picks; value: number } | null {
  let best: { picks: Picks; value: number } | null = null;
  const visit = (picks: number[]): void => {
    const scores = problem.scores[picks.length];
    if (scores !== undefined) {
      for (const choice of scores.keys()) visit([...picks, choice]);
      return;
    }
    const value = valueOf(problem, picks);
    if (isFeasible(problem, picks) && (best === null || value < best.value)) best = { picks, value };
  };
  visit([]);
  return best;
}

/** Six layers of four choices: fewer experts cost less memory and score worse, unevenly. */
function ladder(scoreFactor = 1, rowFactor = 1): ChoiceProblem {
  const weight = [5, 1, 3, 2, 8, 4];
  return {
    layers: weight.map((_, layer) => `layer ${layer}`),
    scores: weight.map((w) => [0, 0.11 * w, 0.37 * w, 1.13 * w].map((score) => score * scoreFactor)),
    rows: [
      {
        name: 'memory',
        unit: 'B',
        sense: 'at_most',
        limit: 61 * rowFactor,
        costs: weight.map((_, layer) =>
          [16, 12, 8, 4].map((cost) => (cost + (layer % 3) * 0.25) * rowFactor),
        ),
      },
    ],
  };
}

const arbitraryProblem: fc.Arbitrary<ChoiceProblem> = fc
  .record({
    layers: fc.integer({ min: 1, max: 5 }),
    choices: fc.integer({ min: 1, max: 4 }),
    magnitude: fc.integer({ min: -9, max: 9 }),
    senses: fc.array(fc.constantFrom('at_most' as const, 'at_least' as const, 'exactly' as const), {
      minLength: 0,
      maxLength: 3,
    }),
    seed: fc.integer({ min: 0, max: 1e9 }),
  })
  .map(({ layers, choices, magnitude, senses, seed }) => {
    let state = seed;
    const next = (): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) / 2 ** 24;
    };
    const table = (factor: number, whole: boolean): number[][] =>
      Array.from({ length: layers }, () =>
        Array.from({ length: choices }, () => (whole ? Math.floor(next() * 3) : next() * factor)),
      );
    return {
      layers: Array.from({ length: layers }, (_, i) => `layer ${i}`),
      scores: table(10 ** magnitude, false),
      rows: senses.map((sense, i) => {
        const factor = 10 ** ((magnitude * (i + 1)) % 10);
        const isWhole = sense === 'exactly';
        const limit = isWhole ? Math.floor(next() * layers * 2) : next() * layers * factor;
        return { name: `row ${i}`, unit: '', sense, limit, costs: table(factor, isWhole) };
      }),
    };
  });

describe('the solver', () => {
  it('finds what brute force finds, whatever the magnitudes, and calls infeasible what is', () => {
    fc.assert(
      fc.property(arbitraryProblem, (problem) => {
        const expected = bruteForce(problem);
        const outcome = solver.solve(problem, 10);
        if (expected === null) {
          expect(outcome.kind).toBe('infeasible');
          return;
        }
        expect(outcome.kind).toBe('optimal');
        if (outcome.kind !== 'optimal') return;
        expect(outcome.value).toBe(valueOf(problem, outcome.picks));
        expect(Math.abs(outcome.value - expected.value)).toBeLessThanOrEqual(
          1e-12 * Math.abs(expected.value),
        );
      }),
      { numRuns: 300, seed: 7 },
    );
  });

  it.each([1e-12, 1e-6, 1, 1e9])('chooses the same when every score is multiplied by %s', (factor) => {
    const plain = solver.solve(ladder(), 10);
    const scaled = solver.solve(ladder(factor), 10);
    expect(plain.kind).toBe('optimal');
    expect(scaled).toMatchObject({ kind: 'optimal', picks: plain.kind === 'optimal' ? plain.picks : [] });
  });

  it.each([1e-9, 1, 1e12])('chooses the same when every cost and its limit is multiplied by %s', (factor) => {
    const plain = solver.solve(ladder(), 10);
    const scaled = solver.solve(ladder(1, factor), 10);
    expect(scaled).toMatchObject({ kind: 'optimal', picks: plain.kind === 'optimal' ? plain.picks : [] });
  });

  it('takes the earlier choice in the earlier layer where scores tie', () => {
    const flat: ChoiceProblem = {
      ...ladder(),
      scores: ladder().scores.map((scores) => scores.map(() => 0.5)),
      rows: [{ ...one(ladder()), costs: ladder().scores.map(() => [16, 12, 8, 4]), limit: 92 }],
    };
    expect(solver.solve(flat, 10)).toMatchObject({ picks: [0, 0, 0, 0, 0, 1] });
  });

  it('names a score that is no number by its layer', () => {
    const problem = ladder();
    const broken = {
      ...problem,
      scores: problem.scores.map((scores, i) => (i === 3 ? [0, NaN, 1, 2] : scores)),
    };
    expect(() => solver.solve(broken, 10)).toThrow('layer 3, choice 1: score is NaN');
  });

  it('names a layer that has no choice', () => {
    const { problem } = restrict(ladder(), (layer) => layer !== 2);
    expect(() => solver.solve(problem, 10)).toThrow('layer 2: no choice is left');
  });

  it('solves layers of one choice', () => {
    const { problem } = restrict(ladder(), (_, choice) => choice === 3);
    expect(solver.solve(problem, 10)).toMatchObject({ kind: 'optimal', picks: [0, 0, 0, 0, 0, 0] });
  });

  it('says that it found nothing in time, and not that there is nothing', () => {
    const exact = hard();
    const rows = exact.rows.map((row) => ({
      ...row,
      sense: 'exactly' as const,
      limit: usage(
        row,
        exact.scores.map((scores, layer) => (layer * 7) % scores.length),
      ),
    }));
    expect(solver.solve({ ...exact, rows }, 0).kind).toBe('none-in-time');
  });

  it('gives what it knows when there is no time at all, with how far off it may be', () => {
    const outcome = solver.solve(hard(), 0);
    expect(outcome.kind).toBe('feasible');
    if (outcome.kind !== 'feasible') return;
    expect(outcome.bound).toBeLessThan(outcome.value);
    expect(isFeasible(hard(), outcome.picks)).toBe(true);
  });

  it('tells the least that rows must give together where none alone can give enough', () => {
    const [row] = ladder().rows;
    if (row === undefined) throw new Error('expected a row');
    const opposite = { ...row, name: 'work', sense: 'at_least' as const, limit: 80 };
    const problem = { ...ladder(), rows: [{ ...row, limit: 40 }, opposite] };
    const given = solver.elastic(problem, 10) ?? [];
    expect(given.length).toBeGreaterThan(0);
    const moved = problem.rows.map((other) => ({
      ...other,
      limit: given.find(({ name }) => name === other.name)?.needed ?? other.limit,
    }));
    expect(solver.solve(problem, 10).kind).toBe('infeasible');
    expect(solver.solve({ ...problem, rows: moved }, 10).kind).toBe('optimal');
  });

  it('gives a bound below its value when time runs out first', () => {
    const outcome = solver.solve(hard(), 0.02);
    expect(['feasible', 'none-in-time']).toContain(outcome.kind);
    if (outcome.kind === 'feasible') expect(outcome.bound).toBeLessThan(outcome.value);
  });
});

describe('the certificate', () => {
  it('bounds every feasible choice from below, and equals the linear relaxation with its duals', () => {
    fc.assert(
      fc.property(arbitraryProblem, (problem) => {
        const best = bruteForce(problem);
        const relaxation = solver.relax(problem);
        if (best === null || relaxation.kind === 'infeasible') return;
        const bound = lagrangianBound(problem, relaxation.multipliers);
        const magnitude = Math.max(...problem.scores.flat());
        expect(bound).toBeLessThanOrEqual(best.value + 1e-8 * magnitude);
        expect(Math.abs(bound - relaxation.value)).toBeLessThanOrEqual(1e-5 * magnitude);
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  it('proves an optimum without a solver, and refutes a worse choice with a better one', () => {
    const problem = ladder();
    const relaxation = solver.relax(problem);
    const outcome = solver.solve(problem, 10);
    if (relaxation.kind !== 'solved' || outcome.kind !== 'optimal') throw new Error('expected a solution');
    const options = { multipliers: relaxation.multipliers, maximumNodes: 1e5 };
    const proof = checkCertificate(problem, outcome.picks, options);
    expect(proof).toMatchObject({ feasible: true, optimality: 'proven', better: null });
    expect(proof.excluded).toBeGreaterThan(0);
    const worse = checkCertificate(problem, [3, 3, 3, 3, 3, 3], options);
    expect(worse.optimality).toBe('refuted');
    expect(worse.better?.value).toBeLessThan(valueOf(problem, [3, 3, 3, 3, 3, 3]));
  });

  it('holds with any multipliers, only less tightly', () => {
    const best = bruteForce(ladder());
    for (const multiplier of [0, 0.01, 1, 100]) {
      expect(lagrangianBound(ladder(), [multiplier])).toBeLessThanOrEqual(best?.value ?? 0);
    }
  });

  it('sees an answer that breaks a row', () => {
    const check = checkCertificate(ladder(), [0, 0, 0, 0, 0, 0], { multipliers: [0], maximumNodes: 10 });
    expect(check.feasible).toBe(false);
    expect(usage(one(ladder()), [0, 0, 0, 0, 0, 0])).toBeGreaterThan(61);
  });
});

function one(problem: ChoiceProblem): ChoiceProblem['rows'][number] {
  const row = problem.rows[0];
  if (row === undefined) throw new Error('expected a row');
  return row;
}

/** Too many near ties to prove in a moment. */
function hard(): ChoiceProblem {
  const layers = 90;
  const noise = (i: number, j: number, k: number): number =>
    ((Math.sin(i * 12.9898 + j * 78.233 + k * 37.719) * 43758.5453) % 1) + 1;
  return {
    layers: Array.from({ length: layers }, (_, i) => `layer ${i}`),
    scores: Array.from({ length: layers }, (_, i) =>
      Array.from({ length: 40 }, (_, j) => j + noise(i, j, 0)),
    ),
    rows: [1, 2, 3, 4, 5].map((k) => ({
      name: `row ${k}`,
      unit: '',
      sense: 'at_most' as const,
      limit: layers * 12,
      costs: Array.from({ length: layers }, (_, i) =>
        Array.from({ length: 40 }, (_, j) => (40 - j) * 0.6 * noise(i, j, k)),
      ),
    })),
  };
}
