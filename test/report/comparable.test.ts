import { describe, expect, it } from 'vitest';
import { requireAlike, unlikeConditions } from '../../report/comparable.ts';
import type { Conditions, Model } from '../../report/evidence.ts';

const cell = {
  ...{ task: 'sums', effort: 'high', version: 1, questions: 'sha256:a', scorers: 'exact 1' },
  maxNewTokens: 64,
};
function model(name: string, changes: Partial<typeof cell> = {}, decoding = 'greedy'): Model {
  const conditions: Conditions = { decoding, cells: [{ ...cell, ...changes }] };
  return { name, label: name, suite: [], tasks: [], timing: undefined, conditions };
}

describe('two results', () => {
  it('that were made alike compare', () => {
    expect(requireAlike([[model('child'), model('parent')]], false)).toEqual([]);
  });

  it.each([
    [{ maxNewTokens: 128 }, 'cap of sums at high: child 128, parent 64'],
    [{ version: 2 }, 'version of sums at high: child 2, parent 1'],
    [{ scorers: 'exact 2' }, 'scorers of sums at high: child exact 2, parent exact 1'],
    [{ questions: 'sha256:b' }, 'questions of sums at high: child sha256:b, parent sha256:a'],
    [{ task: 'recall' }, 'tasks: child recall at high, parent sums at high'],
  ])('that differ by %j are refused with both values, unless it is allowed', (changes, message) => {
    const pairs = [[model('child', changes), model('parent')]] as const;
    expect(() => requireAlike(pairs, false)).toThrow(
      expect.objectContaining({
        code: 'NOT_COMPARABLE',
        message: expect.stringContaining(message) as string,
      }) as Error,
    );
    expect(requireAlike(pairs, true)).toEqual([message]);
  });

  it('whose speeds were measured otherwise, or elsewhere, are unlike', () => {
    const timed = (name: string, runner: string, machine: string): Model => ({
      ...model(name),
      timing: {
        ...{ tokensPerSecond: 1, standardError: null, runner, threads: 1, batchSize: 1, machine },
        measuredOn: name,
      },
    });
    const parent = timed('parent', '96 in', '2 cores of A');
    expect(unlikeConditions(timed('child', '96 in', '2 cores of A'), parent)).toEqual([]);
    expect(unlikeConditions(timed('child', '64 in', '2 cores of B'), parent)).toEqual([
      'speed measured by: child 64 in, parent 96 in',
      'speed measured on: child 2 cores of B, parent 2 cores of A',
    ]);
    expect(unlikeConditions(model('child'), parent)).toEqual([]);
  });

  it('decoded otherwise are unlike', () => {
    const [one, other] = [model('child', {}, 'sampled, temperature 1, seed 1'), model('parent')];
    expect(unlikeConditions(one, other)).toEqual([
      'decoding: child sampled, temperature 1, seed 1, parent greedy',
    ]);
  });
});
