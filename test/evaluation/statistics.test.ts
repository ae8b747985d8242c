import { describe, expect, it } from 'vitest';
import { average, summarise, type Outcome } from '../../evaluation/statistics.ts';

const outcome = (changes: Partial<Outcome>): Outcome => ({
  task: 'sum',
  effort: 'high',
  isCorrect: false,
  isCapped: false,
  hasFinal: true,
  isError: false,
  tokens: 10,
  ...changes,
});

describe('summaries', () => {
  it('count shares of all answers, with the binomial standard error', () => {
    const summary = summarise([
      outcome({ isCorrect: true, tokens: 4 }),
      outcome({ isCorrect: true, tokens: 6 }),
      outcome({ isCorrect: true, tokens: 5 }),
      outcome({ isCapped: true, hasFinal: false, tokens: 25 }),
    ]);
    expect(summary).toEqual({
      examples: 4,
      accuracy: 0.75,
      standardError: Math.sqrt((0.75 * 0.25) / 4),
      meanTokens: 10,
      capHitRate: 0.25,
      finalRate: 0.75,
      errors: 0,
    });
  });

  it('are averaged over tasks, each weighing the same', () => {
    const easy = summarise(Array.from({ length: 100 }, () => outcome({ isCorrect: true })));
    const hard = summarise([outcome({}), outcome({ isCorrect: true })]);
    const suite = average([easy, hard]);
    expect(suite.accuracy).toBe(0.75);
    expect(suite.standardError).toBeCloseTo(hard.standardError / 2, 12);
    expect(suite.examples).toBe(102);
  });

  it('of a sure outcome have no error, and of nothing do not exist', () => {
    expect(summarise([outcome({ isCorrect: true })]).standardError).toBe(0);
    expect(() => summarise([])).toThrow('bug');
  });
});
