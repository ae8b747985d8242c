import type { Json } from '../../core/canonical-json.ts';
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

/** The paper's three scenarios as throughput to reach: 8 GPUs at 64K and 4K, one GPU at 64K. */
export const paperScenarios: Record<string, Json> = {
  expert_multiple: 8,
  scenarios: [
    {
      name: 'node 64K',
      gpus: 8,
      input_tokens: 65536,
      output_tokens: 65536,
      batch: 192,
      throughput_min: 8200,
    },
    { name: 'node 4K', gpus: 8, input_tokens: 4096, output_tokens: 4096, batch: 1536, throughput_min: 29500 },
    { name: 'one GPU 64K', gpus: 1, input_tokens: 65536, output_tokens: 65536, batch: 12 },
  ],
};
