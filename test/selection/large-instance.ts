import type { Json } from '../../core/canonical-json.ts';
import type { ModelShape } from '../../costs/config.ts';
import { fittedEngine } from '../../costs/engine-model.ts';
import { kvBytes, modelSize } from '../../costs/geometry.ts';
import { hardware } from '../../costs/hardware.ts';
import { batchSeconds, type Serving } from '../../costs/roofline.ts';
import type { LayerScores } from '../../selection/block-scores.ts';
import { seededRandom } from '../../selection/random.ts';

/**
 * Scores of the shape that 120B scoring gives, made up from a seed: error falls steeply with experts kept,
 * later layers bear more removal, and a few of the 18 full-attention layers matter far more than the rest.
 */
export function largeScores(seed: number): LayerScores[] {
  const random = seededRandom(seed);
  return Array.from({ length: 36 }, (_, layer) => {
    const isFull = layer % 2 === 1;
    const weight = (0.4 + random()) * Math.exp(-layer / 24) * 0.02;
    const curve = 1.4 + random();
    const attention = (0.1 + random() ** 3 * 4) * 0.004;
    const choice = (experts: number): number => weight * (1 - experts / 128) ** curve;
    return {
      layer,
      experts: 128,
      window: isFull ? null : 128,
      expertChoices: Array.from({ length: 16 }, (_unused, i) => ({
        experts: 8 * (i + 1),
        score: choice(8 * (i + 1)),
        standardError: 0.03 * choice(8 * (i + 1)),
      })),
      windowChoices: isFull
        ? [
            { window: null, score: 0, standardError: 0 },
            { window: 8192, score: attention * 0.3, standardError: attention * 0.01 },
            { window: 128, score: attention, standardError: attention * 0.03 },
          ]
        : [{ window: 128, score: 0, standardError: 0 }],
      longContext: [],
    };
  });
}

/**
 * Three serving scenarios at fixed batches, each with two rows that bind: memory and time of a batch, as shares of the
 * parent's, no more than the released child takes. Six knapsacks of 1,152 choices.
 */
export function releasedBudget(parent: ModelShape, child: ModelShape): Record<string, Json> {
  const scenarios = [
    { name: 'node 64K', gpus: 8, tokens: 65536, batch: 192 },
    { name: 'node 4K', gpus: 8, tokens: 4096, batch: 1536 },
    { name: 'one GPU 64K', gpus: 1, tokens: 65536, batch: 16 },
  ].map(({ name, gpus, tokens, batch }) => {
    const serving: Serving = {
      hardware: hardware['h100-sxm'],
      engine: fittedEngine,
      gpus,
      expertParallel: 1,
      replicas: 1,
      inputTokens: tokens,
      outputTokens: tokens,
      kvElementBytes: 1,
    };
    const bytes = (model: ModelShape): number =>
      modelSize(model).bytes + batch * kvBytes(model, 2 * tokens, 1);
    const given = { serving, batch };
    return {
      name,
      gpus,
      input_tokens: tokens,
      output_tokens: tokens,
      batch,
      must_fit: false,
      memory_max: bytes(child) / bytes(parent),
      time_max: batchSeconds(child, given) / batchSeconds(parent, given),
    };
  });
  return { expert_multiple: 8, scenarios };
}
