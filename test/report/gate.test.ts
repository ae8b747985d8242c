import { describe, expect, it } from 'vitest';
import type { Answer, Model } from '../../report/evidence.ts';
import { judge, type GateRule } from '../../report/gate.ts';

function model(name: string, accuracy: number, options: { tokens?: number; speed?: number } = {}): Model {
  const line = (effort: string, factor: number): Model['suite'][number] => ({
    effort,
    examples: 100,
    accuracy: accuracy * factor,
    standardError: 0.02,
    meanTokens: (options.tokens ?? 10) * (effort === 'high' ? 4 : 1),
    capHitRate: 0.1,
    finalRate: 1,
    interval: [0, 1],
    tokenQuantiles: { p10: 1, p50: 1, p90: 1, p99: 1 },
    errors: 0,
  });
  const timing = {
    tokensPerSecond: options.speed ?? 100,
    standardError: null,
    runner: 'r',
    threads: 1,
    batchSize: 1,
    machine: undefined,
    measuredOn: name,
  };
  return {
    name,
    label: name,
    suite: [line('low', 0.8), line('high', 1)],
    tasks: [{ task: 'recall', ...line('high', 0.5) }],
    conditions: { decoding: 'greedy', cells: [] },
    timing: options.speed === undefined ? undefined : timing,
  };
}

const models = [model('parent', 0.8), model('child', 0.76, { tokens: 8, speed: 120 })];

function rule(partial: Partial<GateRule>): GateRule {
  return {
    metric: 'accuracy',
    model: 'child',
    baseline: undefined,
    compare: 'ratio',
    isEachTask: false,
    effort: undefined,
    task: undefined,
    atLeast: undefined,
    atMost: undefined,
    ...partial,
  };
}

function first(partial: Partial<GateRule>): ReturnType<typeof judge>['rules'][number] {
  const judged = judge([rule(partial)], { models, answers: new Map() }).rules[0];
  if (judged === undefined) throw new Error('expected a judgement');
  return judged;
}

describe('a gate', () => {
  it('compares a figure with its limit and says by how much and how surely it holds', () => {
    const judged = first({ effort: 'high', atLeast: 0.7 });
    expect(judged).toMatchObject({ passed: true, value: 0.76, limit: 0.7, standardError: 0.02 });
    expect(judged.margin).toBeCloseTo(0.06, 12);
    expect(judged.certainty).toBeCloseTo(3, 9);
    expect(judged.note).toBe('kept by 0.0600, 3.0 standard errors: beyond noise');
  });

  it('divides by the baseline and carries both errors', () => {
    const judged = first({ metric: 'retention', baseline: 'parent', effort: 'high', atLeast: 0.97 });
    expect(judged.value).toBeCloseTo(0.95, 12);
    expect(judged.standardError).toBeCloseTo(Math.hypot(0.02, 0.95 * 0.02) / 0.8, 12);
    expect(judged.passed).toBe(false);
    expect(judged.note).toContain('within noise');
    expect(judged.rule).toBe('retention of child / parent (high) at least 0.97');
  });

  it('takes the mean over efforts when none is named, and the task when one is', () => {
    expect(first({ atLeast: 0 }).value).toBeCloseTo(0.684, 12);
    expect(first({ task: 'recall', effort: 'high', atLeast: 0 }).value).toBeCloseTo(0.38, 12);
  });

  it.each([
    ['mean_tokens', 32, null],
    ['cap_hit_rate', 0.1, 0.03],
    ['final_rate', 1, 0],
    ['effort_length_ratio', 4, null],
    ['request_efficiency', 120 / 32, null],
  ] as const)('knows %s', (metric, value, standardError) => {
    const judged = first({ metric, effort: 'high', atMost: 100 });
    expect(judged.value).toBeCloseTo(value, 12);
    if (standardError === null) expect(judged.standardError).toBeNull();
    else expect(judged.standardError).toBeCloseTo(standardError, 12);
  });

  it('judges both limits of one rule', () => {
    const verdict = judge([rule({ effort: 'high', atLeast: 0.7, atMost: 0.75 })], {
      models,
      answers: new Map(),
    });
    expect(verdict.passed).toBe(false);
    expect(verdict.rules.map((judged) => judged.passed)).toEqual([true, false]);
  });

  it.each([
    [{ model: 'nobody', atLeast: 0 }, 'no results of nobody'],
    [{ baseline: 'nobody', atLeast: 0 }, 'no results of nobody'],
    [{ effort: 'medium', atLeast: 0 }, 'child has no results for the suite at medium effort'],
    [{ metric: 'request_efficiency', model: 'parent', atLeast: 0 }, 'no timings of parent'],
    [{ metric: 'retention', atLeast: 0 }, 'retention needs a baseline'],
  ] as const)('fails %j, and says what is missing', (partial, note) => {
    expect(first(partial)).toMatchObject({ passed: false, value: null, note });
  });
});

/** Forty questions a task, at low and high effort; `right` of them answered rightly, the same ones by all models. */
function answersOf(right: Readonly<Record<string, number>>, tokens = 10): Answer[] {
  return Object.entries(right).flatMap(([task, count]) =>
    ['low', 'high'].flatMap((effort) =>
      Array.from({ length: 40 }, (_, index) => ({
        ...{ task, effort, id: `${task} ${index}`, isCorrect: index < count, hasFinal: true },
        ...{ tokens: tokens * (effort === 'high' ? 4 : 1) + (index % 3), isCapped: index === 0 },
      })),
    ),
  );
}

/** A model whose results are those of its answers, as `evaluate` writes them. */
function answered(name: string, answers: readonly Answer[], speed?: number): Model {
  const line = (own: readonly Answer[], effort: string): Model['suite'][number] => {
    const all = own.filter((answer) => answer.effort === effort);
    const share = (is: (answer: Answer) => boolean): number => all.filter(is).length / all.length;
    return {
      ...{ effort, examples: all.length, accuracy: share(({ isCorrect }) => isCorrect), standardError: 0.05 },
      meanTokens: all.reduce((sum, { tokens }) => sum + tokens, 0) / all.length,
      ...{ capHitRate: share(({ isCapped }) => isCapped), finalRate: 1, interval: [0, 1], errors: 0 },
      tokenQuantiles: { p10: 1, p50: 1, p90: 1, p99: 1 },
    };
  };
  const tasks = [...new Set(answers.map(({ task }) => task))];
  return {
    ...model(name, 0, speed === undefined ? {} : { speed }),
    suite: ['low', 'high'].map((effort) => line(answers, effort)),
    tasks: tasks.flatMap((task) =>
      ['low', 'high'].map((effort) => ({
        task,
        ...line(
          answers.filter((answer) => answer.task === task),
          effort,
        ),
      })),
    ),
  };
}

describe('a rule against a baseline whose answers are there', () => {
  const parent = answersOf({ recall: 36, sums: 30 });
  const child = answersOf({ recall: 36, sums: 28 }, 9);
  const answers = new Map([
    ['parent', parent],
    ['child', child],
  ]);
  const judged = { models: [answered('parent', parent, 100), answered('child', child, 100)], answers };
  const judgeOne = (partial: Partial<GateRule>): ReturnType<typeof judge>['rules'] =>
    judge([rule({ baseline: 'parent', ...partial })], judged).rules;

  it('is judged by the paired bootstrap: a lost question in forty is no finding, a lost third is', () => {
    const [near] = judgeOne({ metric: 'retention', effort: 'high', atLeast: 0.98 });
    expect(near).toMatchObject({ passed: false });
    expect(near?.value).toBeCloseTo(64 / 66, 9);
    expect(near?.interval?.[0]).toBeLessThan(0.98);
    expect(near?.support).toBeGreaterThan(0.025);
    expect(near?.note).toMatch(/^missed by 0\.0103; 95 % from .* resamples of 80 questions: within noise$/);
    const [far] = judgeOne({ metric: 'retention', effort: 'high', atLeast: 1.2 });
    expect(far?.support).toBe(0);
    expect(far?.note).toContain('beyond noise');
  });

  it('is smaller in its noise than with errors taken as independent', () => {
    const plain = judge([rule({ baseline: 'parent', effort: 'high', atLeast: 0.9 })], {
      ...judged,
      answers: new Map(),
    }).rules[0];
    const [paired] = judgeOne({ effort: 'high', atLeast: 0.9 });
    expect(paired?.value).toBe(plain?.value);
    expect(paired?.standardError ?? NaN).toBeLessThan((plain?.standardError ?? NaN) / 2);
  });

  it('is one for each task where that is asked', () => {
    const rules = judgeOne({ metric: 'retention', effort: 'high', isEachTask: true, atLeast: 0.95 });
    expect(rules.map((each) => [each.rule, each.passed])).toEqual([
      ['retention of child / parent (recall, high) at least 0.95', true],
      ['retention of child / parent (sums, high) at least 0.95', false],
    ]);
  });

  it('may be a difference: a rate of nothing has no ratio', () => {
    const [caps] = judgeOne({ metric: 'cap_hit_rate', effort: 'high', compare: 'difference', atMost: 0.01 });
    expect(caps).toMatchObject({ passed: true, value: 0, support: 1 });
    expect(caps?.rule).toBe('cap_hit_rate of child - parent (high) at most 0.01');
  });

  it('sets effort length ratios and requests a second against each other', () => {
    const [ratio] = judgeOne({ metric: 'effort_length_ratio', atLeast: 0.9, atMost: 1.1 });
    expect(ratio?.value).toBeGreaterThan(0.99);
    expect(ratio?.value).toBeLessThan(1.01);
    const [speed] = judgeOne({ metric: 'request_efficiency', effort: 'high', atLeast: 1.05 });
    expect(speed).toMatchObject({ passed: true, support: 1 });
    expect(speed?.value).toBeCloseTo((40 + 39 / 40) / (36 + 39 / 40), 9);
  });

  it('has the noise of the measured speed in it, but not where both have one measurement', () => {
    const noisy = (name: string, measuredOn: string): Model => {
      const found = judged.models.find((each) => each.name === name) as Model;
      const timing = {
        ...{ tokensPerSecond: 100, standardError: 5, runner: '', threads: 1, batchSize: 1 },
        machine: undefined,
      };
      return { ...found, timing: { ...timing, measuredOn } };
    };
    const errorOf = (...models: Model[]): number =>
      judge([rule({ metric: 'request_efficiency', baseline: 'parent', effort: 'high', atLeast: 1 })], {
        ...judged,
        models,
      }).rules[0]?.standardError ?? NaN;
    expect(errorOf(noisy('parent', 'parent'), noisy('child', 'child'))).toBeGreaterThan(0.05);
    expect(errorOf(noisy('parent', 'parent'), noisy('child', 'parent'))).toBeLessThan(0.001);
  });
});
