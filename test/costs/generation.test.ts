import { describe, expect, it } from 'vitest';
import { fittedEngine, idealEngine } from '../../costs/engine-model.ts';
import { generation, generationMemory, roundSeconds, withPlainExperts } from '../../costs/generation.ts';
import { gibibyte, kvBytes, modelSize } from '../../costs/geometry.ts';
import { batchSeconds, maximumBatch, throughputAt } from '../../costs/roofline.ts';
import { parent, published, servingAt } from './published.ts';

const [node] = published;
const serving = { ...servingAt(node, 2), engine: fittedEngine };

describe('writing answers', () => {
  it('takes the GPU-seconds a token of the published throughput, within the band', () => {
    const found = generation(parent, serving);
    // Table 1: 5.7 thousand tokens a second on eight GPUs.
    expect((found?.gpuSecondsPerToken ?? 0) / (8 / 5700)).toBeGreaterThan(0.7);
    expect((found?.gpuSecondsPerToken ?? 0) / (8 / 5700)).toBeLessThan(1.3);
  });

  it('holds weights, the cache of its requests, and what the engine takes for itself', () => {
    const found = generation(parent, serving);
    if (found === undefined) throw new Error('it fits');
    const { weights, cache, total } = found.memory;
    expect(weights * 8).toBe(modelSize(parent).bytes);
    expect(cache * 8).toBeCloseTo(found.batch * kvBytes(parent, 131_072, 2), 0);
    expect(total - weights - cache).toBeCloseTo(fittedEngine.reservedBytes, 0);
    expect(total).toBeLessThanOrEqual(serving.hardware.memoryBytes * 0.95);
  });

  it('with a given number of requests is no faster than with the best', () => {
    const few = generation(parent, serving, 2);
    expect(few?.batch).toBe(2);
    const at = throughputAt(parent, { serving, batch: 2 });
    expect(few?.gpuSecondsPerToken).toBe(8 / at.tokensPerSecond);
    expect(few?.gpuSecondsPerToken).toBeGreaterThan(generation(parent, serving)?.gpuSecondsPerToken ?? 0);
  });

  it('in rounds is spread over replicas, and waits for room', () => {
    const two = { ...serving, gpus: 4, replicas: 2 };
    const fits = maximumBatch(parent, two);
    const at = (batch: number): number => batchSeconds(parent, { serving: two, batch });
    expect(roundSeconds(parent, two, 2 * fits)).toBe(at(fits));
    expect(roundSeconds(parent, two, 3)).toBe(at(2));
    expect(roundSeconds(parent, two, 2 * fits + 1)).toBe(2 * at(Math.ceil((fits + 1) / 2)));
    expect(roundSeconds(withPlainExperts(parent), { ...two, gpus: 1 }, 1)).toBeUndefined();
  });

  it('that does not fit has no time, and says what it would take', () => {
    const plain = withPlainExperts(parent);
    const one = { ...serving, gpus: 1, engine: idealEngine };
    expect(generation(plain, one)).toBeUndefined();
    // 116.83B parameters of two bytes.
    expect(generationMemory(plain, one, 1).weights / gibibyte).toBeCloseTo((2 * 116.83e9) / gibibyte, 0);
  });
});
