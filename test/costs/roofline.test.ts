import { describe, expect, it } from 'vitest';
import { fittedEngine, idealEngine } from '../../costs/engine-model.ts';
import { kvBytes, withLayers } from '../../costs/geometry.ts';
import { hardware, hardwareNames } from '../../costs/hardware.ts';
import {
  batchSeconds,
  bestThroughput,
  cacheCapacityBytes,
  layerTime,
  maximumBatch,
  throughputAt,
  type Serving,
} from '../../costs/roofline.ts';
import { child, parent } from './published.ts';

const serving: Serving = {
  hardware: hardware['h100-sxm'],
  engine: fittedEngine,
  gpus: 8,
  expertParallel: 1,
  replicas: 1,
  inputTokens: 4096,
  outputTokens: 4096,
  kvElementBytes: 1,
};

describe('the roofline', () => {
  it('adds up over layers, so that a program over layers can hold it as a row', () => {
    const given = { serving, batch: 64 };
    const fewer = withLayers(
      parent,
      parent.layers.map((layer, index) => (index === 5 ? { experts: 64, window: 128 } : layer)),
    );
    const before = parent.layers[5];
    const after = fewer.layers[5];
    if (before === undefined || after === undefined) throw new Error('expected a layer');
    const [from, to] = [layerTime(parent, before, given), layerTime(parent, after, given)];
    const saved =
      serving.outputTokens * (from.decodeSeconds - to.decodeSeconds) +
      64 * (from.prefillSeconds - to.prefillSeconds);
    expect(batchSeconds(parent, given) - batchSeconds(fewer, given)).toBeCloseTo(saved, 9);
    expect(saved).toBeGreaterThan(0);
  });

  it('reads the batch that fits off the memory that weights leave', () => {
    const batch = maximumBatch(child, serving);
    const context = 8192;
    expect(batch * kvBytes(child, context, 1)).toBeLessThan(cacheCapacityBytes(serving));
    expect((batch + 1) * kvBytes(child, context, 1)).toBeGreaterThan(
      cacheCapacityBytes(serving) - 60 * 2 ** 30,
    );
    expect(
      maximumBatch(parent, { ...serving, gpus: 1, hardware: { ...serving.hardware, memoryBytes: 2 ** 30 } }),
    ).toBe(0);
  });

  it('finds a batch no other beats by more than its own steps', () => {
    const best = bestThroughput(child, serving);
    for (const batch of [1, 10, 100, 1000, 2000]) {
      if (batch > maximumBatch(child, serving)) continue;
      expect(throughputAt(child, { serving, batch }).tokensPerSecond).toBeLessThanOrEqual(
        (best?.tokensPerSecond ?? 0) * 1.01,
      );
    }
  });

  it('is never slower where the engine is ideal, the cache smaller, or the hardware better', () => {
    const speed = (given: Serving): number => bestThroughput(child, given)?.tokensPerSecond ?? 0;
    expect(speed({ ...serving, engine: idealEngine })).toBeGreaterThan(speed(serving));
    expect(speed({ ...serving, hardware: hardware['h200-sxm'] })).toBeGreaterThan(speed(serving));
    expect(speed({ ...serving, hardware: hardware['b200-sxm'] })).toBeGreaterThan(
      speed({ ...serving, hardware: hardware['h200-sxm'] }),
    );
    expect(speed({ ...serving, inputTokens: 65536 })).toBeLessThan(speed(serving));
  });

  it('adds up over replicas, each with a batch of its own', () => {
    const one = bestThroughput(child, { ...serving, gpus: 1 });
    const eight = bestThroughput(child, { ...serving, gpus: 1, replicas: 8 });
    expect(eight?.batch).toBe(one?.batch);
    expect(eight?.tokensPerSecond).toBeCloseTo(8 * (one?.tokensPerSecond ?? NaN), 6);
    expect(eight?.secondsPerToken).toBe(one?.secondsPerToken);
  });

  it('waits for the busiest GPU when experts are spread whole, the less the larger the batch', () => {
    const seconds = (expertParallel: number, batch: number): number =>
      layerTime(child, { experts: 128, window: 128 }, { serving: { ...serving, expertParallel }, batch })
        .decodeSeconds;
    const penalty = [4, 64, 1024].map((batch) => seconds(8, batch) / seconds(1, batch));
    for (const factor of penalty) expect(factor).toBeGreaterThan(1);
    expect(penalty[0]).toBeGreaterThan(penalty[2] ?? Infinity);
    expect(seconds(8, 4)).toBeLessThan(8 * seconds(1, 4));
  });

  it('has figures for every GPU it names', () => {
    for (const name of hardwareNames) {
      const gpu = hardware[name];
      expect(gpu.memoryBytes).toBeGreaterThan(79 * 2 ** 30);
      expect(gpu.memoryBandwidth).toBeGreaterThan(3e12);
      expect(gpu.flops / gpu.memoryBandwidth).toBeGreaterThan(150);
    }
  });
});
