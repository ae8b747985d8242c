import type { Json } from '../../core/canonical-json.ts';
import type { LayerShape, ModelShape } from '../../costs/config.ts';
import { parseBlockScores, type LayerScores } from '../../selection/block-scores.ts';

/** The rehearsal's size: 8 layers, 16 experts, full attention in every second layer. */
export const rehearsalConfig: Record<string, Json> = {
  model_type: 'gpt_oss',
  num_hidden_layers: 8,
  num_local_experts: 16,
  num_experts_per_tok: 2,
  hidden_size: 64,
  intermediate_size: 64,
  head_dim: 16,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 320,
  sliding_window: 16,
  quantization_config: { quant_method: 'mxfp4' },
};

/** Scores with a known shape: layer i is hurt by lost experts in proportion to its weight. */
export function scoresDocument(
  options: { scale?: number; longContext?: boolean } = {},
): Record<string, Json> {
  const weights = [5, 1, 3, 2, 8, 4, 6, 7];
  const scale = options.scale ?? 1;
  return {
    schema: 'fretsaw/block-scores/v1',
    metric: 'activation-mse',
    tokens: 4096,
    parent_long_context_accuracy: 0.9,
    layers: weights.map((weight, layer) => {
      const isFull = layer % 2 === 1;
      return {
        layer,
        attention: isFull ? 'full' : 'sliding',
        window: isFull ? null : 16,
        experts: 16,
        expert_choices: [
          { experts: 4, score: 0.1 * weight * scale },
          { experts: 8, score: 0.03 * weight * scale },
          { experts: 12, score: 0.01 * weight * scale },
          { experts: 16, score: 0 },
        ],
        window_choices: isFull
          ? [
              { window: null, score: 0 },
              { window: 16, score: 0.02 * weight * scale },
            ]
          : [{ window: 16, score: 0 }],
        ...(isFull && options.longContext === true
          ? {
              long_context: [
                {
                  window: 16,
                  accuracy_loss: layer === 1 ? 0.6 : 0.01,
                  standard_error: 0.05,
                  undecided: layer !== 1,
                },
              ],
            }
          : {}),
      };
    }),
  };
}

export function parsedScores(document: Json): LayerScores[] {
  return parseBlockScores({ value: document, path: 'scores.json' });
}

export function withUniformLayers(model: ModelShape, layer: LayerShape): ModelShape {
  return { ...model, layers: model.layers.map(() => layer) };
}
