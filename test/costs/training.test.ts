import { describe, expect, it } from 'vitest';
import { modelSize } from '../../costs/geometry.ts';
import { publishedModels } from '../../costs/published-models.ts';
import {
  forwardFlops,
  trainedParameters,
  trainingFlops,
  trainingMemory,
  type Layout,
} from '../../costs/training.ts';
import { child, parent } from './published.ts';

const layout: Layout = {
  gpus: 64,
  context: 1,
  expert: 1,
  microBatch: 1,
  sequenceTokens: 131_072,
  logitChunk: 2048,
};

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

  it('of a distillation are three forward passes, the gradients of what is not frozen, and the teacher', () => {
    const forward = forwardFlops(child, 4096);
    const alone = trainingFlops(child, 4096, undefined);
    expect(alone).toBeGreaterThan(3 * forward);
    expect(alone).toBeLessThan(4 * forward);
    expect(trainingFlops(child, 4096, parent) - alone).toBe(forwardFlops(parent, 4096));
  });

  it('say what a GPU must hold, and what more GPUs, shared sequences and spread experts save', () => {
    const memory = trainingMemory(child, layout, parent);
    const { total, weights, optimizer, gathered, activations, logits } = memory;
    expect(weights + optimizer + gathered + activations + logits).toBe(total);
    // One copy of the experts: what the student adds to the teacher is what it trains, and its routers.
    const routers = child.layers.reduce((sum, { experts }) => sum + experts * 2881, 0);
    const held = modelSize(parent).parameters + trainedParameters(child) + routers;
    expect(memory.weights * 64).toBeCloseTo(2 * held, 0);
    expect(held).toBeLessThan(0.6 * (modelSize(parent).parameters + modelSize(child).parameters));
    expect(memory.optimizer * 64).toBe(16 * trainedParameters(child));
    const more = trainingMemory(child, { ...layout, gpus: 128 }, parent);
    expect(more.weights * 2).toBe(memory.weights);
    const shared = trainingMemory(child, { ...layout, context: 8 }, parent);
    expect(shared.activations * 8).toBe(memory.activations);
    const spread = trainingMemory(child, { ...layout, expert: 8 }, parent);
    expect(spread.gathered).toBeLessThan(memory.gathered / 4);
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
