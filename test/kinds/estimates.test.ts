import { describe, expect, it } from 'vitest';
import type { Json } from '../../core/canonical-json.ts';
import { fittedEngine } from '../../costs/engine-model.ts';
import { generation, roundSeconds } from '../../costs/generation.ts';
import { modelSize } from '../../costs/geometry.ts';
import { hardware } from '../../costs/hardware.ts';
import type { Serving } from '../../costs/roofline.ts';
import { trainedParameters } from '../../costs/training.ts';
import type { EstimateInput, Range, Work } from '../../kinds/kind.ts';
import { kindNamed } from '../../kinds/registry.ts';
import { parent } from '../costs/published.ts';

const model = { ...modelSize(parent), layers: parent.layers.length, shape: parent };

function given(
  settings: Record<string, Json>,
  resources: Partial<EstimateInput['resources']> = {},
): EstimateInput {
  const data = { examples: 100, tokens: 0 };
  return { with: settings, resources: { cpus: 1, gpus: 8, ...resources }, model, data };
}

const estimateOf = (kind: string, input: EstimateInput): Range | undefined => kindNamed(kind).estimate(input);
const workOf = (kind: string, input: EstimateInput): Work | undefined => kindNamed(kind).work?.(input);

/** Eight H100s, fitted to vLLM, prompts left out. */
const node: Serving = {
  ...{ hardware: hardware['h100-sxm'], engine: fittedEngine, gpus: 8, expertParallel: 1, replicas: 1 },
  ...{ inputTokens: 0, outputTokens: 65_536, kvElementBytes: 2 },
};

describe('what answers cost', () => {
  const answers = { max_new_tokens: 65_536, samples_per_prompt: 2, batch_size: 64 };

  it('is the roofline of servers, from a tenth of the cap to all of it, within its band', () => {
    const settings = { ...answers, rollout: { engine: 'server', concurrency: 64 } };
    const found = estimateOf('generate', given(settings));
    const seconds = 2 * 100 * 65_536 * (generation(parent, node)?.gpuSecondsPerToken ?? NaN);
    expect(found?.high).toBeCloseTo(1.3 * seconds, 3);
    expect(found?.low).toBeCloseTo(0.07 * seconds, 3);
    expect(workOf('generate', given(settings))?.memory['weights']).toBe(modelSize(parent).bytes / 8);
  });

  it('is not known of transformers with a model that one GPU cannot hold, and the plan says what it takes', () => {
    const input = given({ ...answers, rollout: { engine: 'transformers' } });
    expect(estimateOf('generate', input)).toBeUndefined();
    expect((workOf('generate', input)?.memory['weights'] ?? 0) / (2 * 116.83e9)).toBeCloseTo(1, 2);
  });

  it('of an evaluation is that of its efforts’ caps', () => {
    const settings = {
      runner: 'endpoint',
      efforts: ['low', 'high'],
      max_new_tokens: { low: 100, medium: 9, high: 65_536 },
    };
    const seconds = 50 * (100 + 65_536) * (generation(parent, node)?.gpuSecondsPerToken ?? NaN);
    expect(estimateOf('evaluate', given(settings))?.high).toBeCloseTo(1.3 * seconds, 3);
  });

  it('of a measurement is every round of its sweep', () => {
    const settings = {
      ...{ input_tokens: 4096, output_tokens: 4096, kv: 'fp8', rounds: 2, repeats: 3 },
      ...{ tensor_parallel: [4, 8], concurrency: [8, 64], expert_parallel: false },
    };
    const serving: Serving = { ...node, inputTokens: 4096, outputTokens: 4096, kvElementBytes: 1 };
    const once = [4, 8].flatMap((gpus) =>
      [8, 64].map(
        (requests) => roundSeconds(parent, { ...serving, gpus, replicas: 8 / gpus }, requests) ?? NaN,
      ),
    );
    const seconds = 8 * 2 * 3 * once.reduce((sum, round) => sum + round, 0);
    expect(estimateOf('measure', given(settings))?.low).toBeCloseTo(0.7 * seconds, 3);
    expect(estimateOf('measure', given(settings, { gpus: 0 }))).toBeUndefined();
  });
});

describe('the memory of RL', () => {
  const settings = { steps: 10, group_size: 8, prompts_per_step: 8, max_new_tokens: 4096 };
  const memory = (engine: string): Record<string, number> => ({
    ...workOf('reinforce', given({ ...settings, rollout: { engine } }, { gpus: 64 }))?.memory,
  });
  const state = (2 * modelSize(parent).parameters + 16 * trainedParameters(parent)) / 64;

  it('has nothing of answers in it where a server writes them', () => {
    const { total = 0, ...parts } = memory('server');
    expect(parts).not.toHaveProperty('rollout');
    expect(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)).toBe(total);
  });

  it('has vLLM’s copy and cache beside the training where it shares the process', () => {
    const { rollout = 0, total = 0 } = memory('vllm');
    expect(rollout).toBeGreaterThan(modelSize(parent).bytes / 8);
    expect(total - (memory('server')['total'] ?? 0)).toBeCloseTo(rollout, 0);
  });

  it('has the whole model gathered where the process writes them itself, training put away', () => {
    const { rollout = 0, total = 0 } = memory('transformers');
    expect(rollout).toBeGreaterThan(2 * 116e9);
    expect(total).toBeCloseTo(state + rollout, 0);
  });

  it('is less where activations are made again', () => {
    const asked = { gpus: 64, recompute_activations: 1 };
    const found = workOf('reinforce', given({ ...settings, rollout: { engine: 'server' } }, asked));
    expect(found?.memory['activations']).toBeLessThan((memory('server')['activations'] ?? 0) / 4);
  });
});
