import { describe, expect, it } from 'vitest';
import type { Model } from '../../report/evidence.ts';
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
  });
  const timing = {
    tokensPerSecond: options.speed ?? 100,
    runner: 'r',
    threads: 1,
    batchSize: 1,
    measuredOn: name,
  };
  return {
    name,
    label: name,
    suite: [line('low', 0.8), line('high', 1)],
    tasks: [{ task: 'recall', ...line('high', 0.5) }],
    timing: options.speed === undefined ? undefined : timing,
  };
}

const models = [model('parent', 0.8), model('child', 0.76, { tokens: 8, speed: 120 })];

function rule(partial: Partial<GateRule>): GateRule {
  return {
    metric: 'accuracy',
    model: 'child',
    baseline: undefined,
    effort: undefined,
    task: undefined,
    atLeast: undefined,
    atMost: undefined,
    ...partial,
  };
}

function first(partial: Partial<GateRule>): ReturnType<typeof judge>['rules'][number] {
  const judged = judge([rule(partial)], models).rules[0];
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
    const verdict = judge([rule({ effort: 'high', atLeast: 0.7, atMost: 0.75 })], models);
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
