import type { ModelShape } from './config.ts';

/** Shapes of models that a spec names before their bytes are here: their config.json on the hub. */
const gptOss = {
  hiddenSize: 2880,
  intermediateSize: 2880,
  headDim: 64,
  attentionHeads: 64,
  keyValueHeads: 8,
  vocabularySize: 201_088,
  expertsPerToken: 4,
  hasAttentionBias: true,
  tiedEmbeddings: false,
  expertWeightBits: 4.25,
  weightBytes: 2,
} as const;

function alternating(layers: number, experts: number): ModelShape['layers'] {
  return Array.from({ length: layers }, (_, layer) => ({ experts, window: layer % 2 === 0 ? 128 : null }));
}

export const publishedModels: Readonly<Record<string, ModelShape>> = {
  'hf://openai/gpt-oss-120b': { ...gptOss, layers: alternating(36, 128) },
  'hf://openai/gpt-oss-20b': { ...gptOss, layers: alternating(24, 32) },
};
