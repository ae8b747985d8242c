import { describe, expect, it } from 'vitest';
import { tokenPicker } from '../../../evaluation/onnx/pick-token.ts';

const sampled = (seed: number, temperature = 1) => ({ kind: 'sampled', temperature, seed }) as const;

describe('greedy choice', () => {
  const pick = tokenPicker({ kind: 'greedy' }, 'a');

  it('takes the greatest logit, and of equal ones the lowest id', () => {
    expect(pick(Float32Array.of(-3, -1, -2))).toBe(1);
    expect(pick(Float32Array.of(0, 2, 2))).toBe(1);
  });

  it.each([NaN, Infinity])('refuses a model that gives %s', (logit) => {
    expect(() => pick(Float32Array.of(logit, NaN, NaN))).toThrow('greatest logit');
  });
});

describe('sampling', () => {
  const logits = Float32Array.from([Math.log(0.7), Math.log(0.2), Math.log(0.1)]);
  const draw = (seed: number, id: string, count: number): number[] => {
    const pick = tokenPicker(sampled(seed), id);
    return Array.from({ length: count }, () => pick(logits));
  };

  it('depends on the seed and the request, and on nothing else', () => {
    expect(draw(1, 'a', 40)).toEqual(draw(1, 'a', 40));
    expect(draw(1, 'a', 40)).not.toEqual(draw(2, 'a', 40));
    expect(draw(1, 'a', 40)).not.toEqual(draw(1, 'b', 40));
  });

  it('follows the softmax', () => {
    const drawn = draw(3, 'a', 3000);
    const shares = [0, 1, 2].map((id) => drawn.filter((token) => token === id).length / drawn.length);
    expect(Math.abs((shares[0] ?? 0) - 0.7)).toBeLessThan(0.03);
    expect(Math.abs((shares[2] ?? 0) - 0.1)).toBeLessThan(0.02);
  });

  it('becomes greedy as the temperature falls', () => {
    const pick = tokenPicker(sampled(1, 0.01), 'a');
    expect(Array.from({ length: 50 }, () => pick(logits))).toEqual(Array.from({ length: 50 }, () => 0));
  });
});
