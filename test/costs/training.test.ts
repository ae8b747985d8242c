import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { gibibyte, modelSize } from '../../costs/geometry.ts';
import { hardware } from '../../costs/hardware.ts';
import { publishedModels } from '../../costs/published-models.ts';
import { trainingTime } from '../../costs/training-time.ts';
import {
  forwardFlops,
  heldParameters,
  trainedParameters,
  trainingFlops,
  trainingMemory,
  type Layout,
} from '../../costs/training.ts';
import { defaultScoringGib, expertChunk } from '../../kinds/compute.ts';
import { child, parent } from './published.ts';

const layout: Layout = {
  gpus: 64,
  shard: 64,
  context: 1,
  expert: 1,
  microBatch: 1,
  sequenceTokens: 131_072,
  logitChunk: 2048,
  isRecomputed: true,
  expertChunk,
};
const short = { sequenceTokens: 4096, isRecomputed: false };

describe('training costs', () => {
  it('meet two FLOPs an active weight on short sequences, and more where attention reaches far', () => {
    const { activeParameters } = modelSize(parent);
    expect(forwardFlops(parent, 1) / (2 * activeParameters)).toBeCloseTo(1, 1);
    // Full attention over 64K keys on average in 18 layers of 64 heads of 64.
    const attention = 18 * 4 * 65_536.5 * 4096 + 18 * 4 * 128 * (1 - 127 / 262_144) * 4096;
    expect(forwardFlops(parent, 131_072) - forwardFlops(parent, 1)).toBeCloseTo(
      attention - 36 * 4 * 4096,
      -6,
    );
  });

  it('are less for the child only where its windows are shorter: it has as many active weights', () => {
    expect(forwardFlops(child, 1) / forwardFlops(parent, 1)).toBeCloseTo(1, 2);
    expect(forwardFlops(child, 131_072)).toBeLessThan(0.8 * forwardFlops(parent, 131_072));
  });

  it('of a distillation are two passes, the gradients of what is not frozen, and the teacher', () => {
    const forward = forwardFlops(child, 4096);
    const experts = 2 * 36 * 4 * 24_883_200;
    const alone = trainingFlops(child, short, undefined);
    expect(alone).toBeCloseTo(3 * (forward - experts) + 2 * experts, -3);
    expect(trainingFlops(child, short, parent) - alone).toBe(forwardFlops(parent, 4096));
  });

  it('made again: attention, and two thirds of the experts, but not the output matrix', () => {
    const again = trainingFlops(child, { ...short, isRecomputed: true }, undefined);
    const experts = 2 * 36 * 4 * 24_883_200;
    const dense = forwardFlops(child, 4096) - experts - 2 * 201_088 * 2880;
    expect(again - trainingFlops(child, short, undefined)).toBeCloseTo(dense + (2 / 3) * experts, -3);
  });

  it('know the published models by the figures of their cards', () => {
    const large = publishedModels['hf://openai/gpt-oss-120b'];
    const small = publishedModels['hf://openai/gpt-oss-20b'];
    if (large === undefined || small === undefined) throw new Error('expected both models');
    expect(modelSize(large)).toEqual(modelSize(parent));
    expect((modelSize(small).parameters / 1e9).toFixed(2)).toBe('20.91');
    expect((modelSize(small).activeParameters / 1e9).toFixed(2)).toBe('3.61');
  });
});

describe('the memory of a layout', () => {
  it('is the sum of its parts, of one copy of the experts', () => {
    const { total, ...parts } = trainingMemory(child, layout, parent);
    expect(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)).toBe(total);
    // What the student adds to the teacher is what it trains, and its routers.
    const routers = child.layers.reduce((sum, { experts }) => sum + experts * 2881, 0);
    const held = modelSize(parent).parameters + trainedParameters(child) + routers;
    expect(parts.weights * 64).toBeCloseTo(2 * held, 0);
    expect(held).toBeLessThan(0.6 * (modelSize(parent).parameters + modelSize(child).parameters));
    expect(parts.optimizer * 64).toBe(16 * trainedParameters(child));
  });

  it('is what the formulas give by hand, at 128K tokens over four GPUs a sequence', () => {
    const found = trainingMemory(child, { ...layout, context: 4 }, parent);
    const tokens = 32_768;
    // Two layers of 128 experts, a router and attention; embedding, output matrix and final norm of both.
    const layer = 128 * 24_883_200 + 128 * 2881 + 26.55e6;
    expect(found.gathered / (2 * 2 * layer + 2 * 2 * (2 * 201_088 * 2880 + 2880))).toBeCloseTo(1, 3);
    const kept = 2 * tokens * 36 * 2 * 2880;
    const attention = 4 * tokens * (9216 + 4 * 2880);
    const rows = 2 * 131_072 * 2048;
    const experts = 2 * 65_536 * 4 * 6 * 2880;
    expect(found.activations).toBe(kept + attention + rows + experts);
    expect(found.logits).toBe(2048 * 201_088 * 16);
  });

  it('without making activations again keeps 87 KB a token and layer more than fits', () => {
    const kept = trainingMemory(child, { ...layout, isRecomputed: false }, parent);
    const again = trainingMemory(child, layout, parent);
    // 4 hidden states, queries, keys, values and output of heads, 4 experts' first product: bf16.
    const token = 2 * (4 * 2880 + 9216 + 4 * 5760) - 2 * 2 * 2880;
    const chunks = 2 * (2 * 131_072 - 65_536) * 4 * 6 * 2880;
    expect(kept.activations - again.activations).toBe(131_072 * 36 * token + chunks);
    expect(kept.total / gibibyte).toBeGreaterThan(80);
  });

  it('falls with GPUs, shared sequences and spread experts, and rises with smaller shards', () => {
    const memory = trainingMemory(child, layout, parent);
    const more = trainingMemory(child, { ...layout, gpus: 128, shard: 128 }, parent);
    expect(more.weights * 2).toBe(memory.weights);
    const copies = trainingMemory(child, { ...layout, shard: 8 }, parent);
    expect(copies.weights).toBe(8 * memory.weights);
    expect(copies.optimizer).toBe(8 * memory.optimizer);
    expect(copies.activations).toBe(memory.activations);
    const shared = trainingMemory(child, { ...layout, context: 8 }, parent);
    expect(shared.activations).toBeLessThan(0.2 * memory.activations);
    const spread = trainingMemory(child, { ...layout, expert: 8 }, parent);
    expect(spread.gathered).toBeLessThan(memory.gathered / 2);
  });

  it('is near what one H100 was measured to take', () => {
    // docs/performance.md: two layers of gpt-oss-120b's geometry, 8,192 tokens, forward and backward of a pair: 32.7 GiB.
    // No optimiser was there: moments are left out; nor were layers gathered from shards on one GPU.
    const cut = { ...parent, layers: parent.layers.slice(0, 2) };
    const one = { ...layout, gpus: 1, shard: 1, sequenceTokens: 8192, logitChunk: 512 };
    const found = trainingMemory(cut, one, cut);
    const held = found.total - found.gathered - 8 * trainedParameters(cut);
    expect(held / gibibyte / 32.7).toBeGreaterThan(0.85);
    expect(held / gibibyte / 32.7).toBeLessThan(1.1);
  });

  it('takes the sizes of parts that the engine has', () => {
    const engine = (file: string): string =>
      readFileSync(new URL(`../../engine/src/fretsaw_engine/methods/${file}`, import.meta.url), 'utf8');
    expect(engine('distill/experts.py')).toContain(`TOKENS_AT_ONCE = ${expertChunk}`);
    expect(engine('score/budget.py')).toMatch(new RegExp(`= ${defaultScoringGib}(\\.0)?\\b`));
  });
});

describe('the time of a layout', () => {
  const on = { hardware: hardware['h100-sxm'], utilisation: { best: 0.45, worst: 0.1 }, teacher: parent };

  it('is arithmetic at a share of peak, and bytes at the speed of the link that they cross', () => {
    const { computeSeconds, trafficSeconds, gpuSecondsPerToken } = trainingTime(child, layout, on);
    const flops = 131_072 * trainingFlops(child, layout, parent);
    expect(computeSeconds).toBeCloseTo(flops / (0.45 * 989e12), 6);
    // Everything twice in bf16 and gradients once in float32, 63 of 64 parts from others, at 400 Gb/s.
    const bytes = (63 / 64) * (4 * heldParameters(child, parent) + 4 * trainedParameters(child));
    expect(trafficSeconds).toBeCloseTo(bytes / 50e9, 6);
    expect(gpuSecondsPerToken.low).toBe(Math.max(computeSeconds, trafficSeconds) / 131_072);
    expect(gpuSecondsPerToken.high).toBeCloseTo((4.5 * computeSeconds + trafficSeconds) / 131_072, 12);
  });

  it('inside a node is told by NVLink, with gradients of copies over the network', () => {
    const { trafficSeconds } = trainingTime(child, { ...layout, shard: 8 }, on);
    const inside = (7 / 8) * (4 * heldParameters(child, parent) + 4 * trainedParameters(child));
    const between = 2 * (7 / 8) * ((4 * trainedParameters(child)) / 8);
    expect(trafficSeconds).toBeCloseTo(inside / 450e9 + between / 50e9, 9);
    expect(trafficSeconds).toBeLessThan(trainingTime(child, layout, on).trafficSeconds / 5);
  });

  it('has the keys and values of a shared sequence in it', () => {
    const shared = trainingTime(child, { ...layout, context: 4 }, on);
    const alone = trainingTime(child, layout, on);
    // 2,048 bytes a token and layer; the student's three times, the teacher's once.
    const bytes = 131_072 * (3 / 4) * 36 * 2048 * 4;
    expect(shared.trafficSeconds - alone.trafficSeconds).toBeCloseTo(bytes / 450e9, 6);
    expect(shared.computeSeconds).toBeCloseTo(alone.computeSeconds / 4, 9);
  });

  it('holds what one H100 was measured to need', () => {
    // docs/performance.md: 0.298 s for 8,192 tokens through two layers.
    const cut = { ...parent, layers: parent.layers.slice(0, 2) };
    const one = { ...layout, gpus: 1, shard: 1, sequenceTokens: 8192 };
    const { low, high } = trainingTime(cut, one, { ...on, teacher: cut }).gpuSecondsPerToken;
    expect(0.298 / 8192).toBeGreaterThan(low);
    expect(0.298 / 8192).toBeLessThan(high);
  });
});
