import { describe, expect, it } from 'vitest';
import { bootstrap, bootstrapAll, resampleCount, type Draw } from '../../report/bootstrap.ts';
import type { Answer } from '../../report/evidence.ts';

const answer = (changes: Partial<Answer>): Answer => ({
  ...{ task: 'sums', effort: 'high', id: 'a', isCorrect: true, tokens: 10, isCapped: false, hasFinal: true },
  ...changes,
});
const answers = (marks: string, changes: Partial<Answer> = {}): Answer[] =>
  Array.from(marks).map((mark, index) => answer({ id: `q${index}`, isCorrect: mark === '1', ...changes }));

const accuracy =
  (side: 'own' | 'baseline', effort = 'high') =>
  (draw: Draw): number =>
    draw.mean(side, { measure: 'accuracy', effort, task: undefined });

describe('the bootstrap', () => {
  it('has the binomial’s standard error and interval, and is the same each time', () => {
    const marks = '1'.repeat(70) + '0'.repeat(30);
    const found = bootstrap(answers(marks), undefined, accuracy('own'));
    expect(found?.standardError).toBeCloseTo(Math.sqrt(0.7 * 0.3 * 0.01), 2);
    expect(found?.interval[0]).toBeCloseTo(0.7 - 1.96 * 0.0458, 1);
    expect(found?.values).toHaveLength(resampleCount);
    expect(bootstrap(answers(marks).reverse(), undefined, accuracy('own'))).toEqual(found);
  });

  it('takes both models at the same questions: alike in every answer, their difference has no noise', () => {
    const marks = '1100101001';
    const gap = (draw: Draw): number => accuracy('own')(draw) - accuracy('baseline')(draw);
    expect(bootstrap(answers(marks), answers(marks), gap)?.standardError).toBe(0);
    const independent = Math.sqrt((2 * 0.5 * 0.5) / 10);
    const found = bootstrap(answers(marks), answers('1100101000'), gap);
    expect(found?.standardError).toBeGreaterThan(0);
    expect(found?.standardError).toBeLessThan(independent / 2);
  });

  it('keeps the samples of a question together, and its efforts', () => {
    // Two samples each, alike within a question: as noisy as half as many independent answers.
    const twice = [...answers('10'.repeat(20)), ...answers('10'.repeat(20))];
    expect(bootstrap(twice, undefined, accuracy('own'))?.standardError).toBeCloseTo(0.5 / Math.sqrt(40), 2);
    const efforts = [...answers('1010'), ...answers('1010', { effort: 'low' })];
    const gap = (draw: Draw): number => accuracy('own')(draw) - accuracy('own', 'low')(draw);
    expect(bootstrap(efforts, undefined, gap)?.standardError).toBe(0);
  });

  it('is refused where the two did not answer the same questions, or a value is not a number', () => {
    expect(bootstrap(answers('11'), answers('111'), accuracy('own'))).toBeUndefined();
    expect(bootstrap(answers('11'), answers('11', { effort: 'low' }), accuracy('own'))).toBeUndefined();
    expect(bootstrap([], undefined, accuracy('own'))).toBeUndefined();
    expect(bootstrapAll(answers('11'), undefined, [() => NaN, accuracy('own')])[0]).toBeUndefined();
  });

  it('draws normal noise once for a name', () => {
    const [same, apart] = bootstrapAll(answers('1'), undefined, [
      (draw) => draw.normal('a') - draw.normal('a'),
      (draw) => draw.normal('a') - draw.normal('b'),
    ]);
    expect(same?.standardError).toBe(0);
    expect(apart?.standardError).toBeCloseTo(Math.SQRT2, 1);
  });
});
