import { describe, expect, it } from 'vitest';
import { average, quantiles, summarise, wilson, type Outcome } from '../../evaluation/statistics.ts';

let count = 0;
const outcome = (changes: Partial<Outcome>): Outcome => ({
  id: `q${count++}`,
  sample: 0,
  extracted: null,
  votes: null,
  task: 'sum',
  effort: 'high',
  isCorrect: false,
  isCapped: false,
  hasFinal: true,
  isError: false,
  tokens: 10,
  ...changes,
});

describe('several answers to a question', () => {
  const said = (...[id, extracted, isCorrect, sample]: [string, string, boolean, number]): Outcome =>
    outcome({ id, extracted, isCorrect, sample });
  const answers = [
    said('a', '1', true, 0),
    said('a', '2', false, 1),
    said('a', '1', true, 2),
    said('b', '7', false, 0),
    said('b', '7', false, 1),
    said('b', '8', true, 2),
  ];

  it('give the mean of all, the majority of each, and an error of the questions’ means', () => {
    const summary = summarise(answers);
    expect(summary).toMatchObject({ examples: 2, samples: 3, accuracy: 0.5, majority: 0.5 });
    // Means of the questions: 2/3 and 1/3; their standard deviation is sqrt(1/18).
    expect(summary.standardError).toBeCloseTo(Math.sqrt(1 / 18 / 2), 12);
  });

  it('that are equally frequent count as the one that came first', () => {
    expect(summarise([said('a', '1', false, 0), said('a', '2', true, 1)]).majority).toBe(0);
    expect(summarise([said('a', '2', true, 0), said('a', '1', false, 1)]).majority).toBe(1);
  });
});

describe('an interval', () => {
  it('is Wilson’s', () => {
    // Agresti and Coull 1998, table: 0 of 10 gives 0 to 0.278.
    expect(wilson(0, 10)[0]).toBe(0);
    expect(wilson(0, 10)[1]).toBeCloseTo(0.2775, 3);
    expect(wilson(0.5, 100)[0]).toBeCloseTo(0.4038, 3);
  });

  it('has quantiles between order statistics', () => {
    expect(quantiles([1, 2, 3, 4, 5])).toEqual({ p10: 1.4, p50: 3, p90: 4.6, p99: 4.96 });
  });
});

describe('judges', () => {
  it('disagree by the share of votes against the majority', () => {
    const votes = [
      { agreeing: 2, votes: 3 },
      { agreeing: 3, votes: 3 },
    ];
    expect(summarise(votes.map((each) => outcome({ votes: each }))).disagreement).toBeCloseTo(1 / 6, 12);
  });
});

describe('summaries', () => {
  it('count shares of all answers, with the binomial standard error', () => {
    const summary = summarise([
      outcome({ isCorrect: true, tokens: 4 }),
      outcome({ isCorrect: true, tokens: 6 }),
      outcome({ isCorrect: true, tokens: 5 }),
      outcome({ isCapped: true, hasFinal: false, tokens: 25 }),
    ]);
    expect(summary).toMatchObject({
      examples: 4,
      accuracy: 0.75,
      standardError: Math.sqrt((0.75 * 0.25) / 4),
      meanTokens: 10,
      capHitRate: 0.25,
      finalRate: 0.75,
      errors: 0,
      samples: 1,
      majority: null,
      disagreement: null,
      tokenQuantiles: { p50: 5.5 },
    });
  });

  it('are averaged over tasks, each weighing the same', () => {
    const easy = summarise(Array.from({ length: 100 }, () => outcome({ isCorrect: true })));
    const hard = summarise([outcome({}), outcome({ isCorrect: true })]);
    const suite = average([easy, hard], []);
    expect(suite.accuracy).toBe(0.75);
    expect(suite.standardError).toBeCloseTo(hard.standardError / 2, 12);
    expect(suite.examples).toBe(102);
  });

  it('of a sure outcome have no error, and of nothing do not exist', () => {
    expect(summarise([outcome({ isCorrect: true })]).standardError).toBe(0);
    expect(() => summarise([])).toThrow('bug');
  });
});
