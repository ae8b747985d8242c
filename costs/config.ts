import {
  field,
  flag,
  integerFrom,
  isAbsent,
  list,
  oneOf,
  orNull,
  text,
  withDefault,
  wrong,
  type Place,
} from './json-reader.ts';

/** One transformer layer as a serving cost sees it: how many experts, how far its attention reaches. */
export interface LayerShape {
  experts: number;
  /** Tokens an attention head may look back; null is full attention. */
  window: number | null;
}

/** Everything about a checkpoint that costs follow from, read off its config.json alone. */
export interface ModelShape {
  layers: readonly LayerShape[];
  hiddenSize: number;
  intermediateSize: number;
  /** Read, never derived: gpt-oss has 64 with hidden 2880 and 64 heads, and 2880 / 64 is 45. */
  headDim: number;
  attentionHeads: number;
  keyValueHeads: number;
  vocabularySize: number;
  expertsPerToken: number;
  hasAttentionBias: boolean;
  tiedEmbeddings: boolean;
  /** Bits an expert weight takes as stored: 4.25 for MXFP4 (32 four-bit values and one scale byte). */
  expertWeightBits: number;
  /** Bytes of every other weight, and of expert biases. */
  weightBytes: number;
}

const count = integerFrom(1);
const dtypeBytes: Readonly<Record<string, number>> = {
  float32: 4,
  bfloat16: 2,
  float16: 2,
  float8_e4m3fn: 1,
};
const attentionTypes = oneOf(['full_attention', 'sliding_attention']);

/** Reads `model_type: gpt_oss` (uniform) and `gpt_oss_puzzle` (a `block_configs` entry a layer). */
export function parseModelConfig(config: Place): ModelShape {
  const type = oneOf(['gpt_oss', 'gpt_oss_puzzle'])(field(config, 'model_type'));
  const expertsPerToken = count(field(config, 'num_experts_per_tok'));
  const layers = type === 'gpt_oss' ? uniformLayers(config) : blockLayers(config);
  for (const [index, layer] of layers.entries()) {
    if (layer.experts < expertsPerToken) {
      wrong(
        config,
        `at least ${expertsPerToken} experts in layer ${index}, as many as a token is routed to`,
        `${layer.experts}`,
      );
    }
  }
  return {
    layers,
    hiddenSize: count(field(config, 'hidden_size')),
    intermediateSize: count(field(config, 'intermediate_size')),
    headDim: count(field(config, 'head_dim')),
    attentionHeads: count(field(config, 'num_attention_heads')),
    keyValueHeads: count(field(config, 'num_key_value_heads')),
    vocabularySize: count(field(config, 'vocab_size')),
    expertsPerToken,
    hasAttentionBias: withDefault(field(config, 'attention_bias'), flag, true),
    tiedEmbeddings: withDefault(field(config, 'tie_word_embeddings'), flag, false),
    expertWeightBits: expertBits(config),
    weightBytes: weightBytes(config),
  };
}

function uniformLayers(config: Place): LayerShape[] {
  const experts = count(field(config, 'num_local_experts'));
  return layerTypes(config).map((type) => ({
    experts,
    window: type === 'full_attention' ? null : count(field(config, 'sliding_window')),
  }));
}

function blockLayers(config: Place): LayerShape[] {
  const types = layerTypes(config);
  const blocks = list((place) => place)(field(config, 'block_configs'));
  if (blocks.length !== types.length)
    wrong(field(config, 'block_configs'), `${types.length} entries, one a layer`, `${blocks.length}`);
  return blocks.map((block, index) => {
    const window = orNull(count)(field(block, 'sliding_window'));
    if ((window === null) !== (types[index] === 'full_attention')) {
      wrong(field(block, 'sliding_window'), `a window that agrees with layer_types ${String(types[index])}`);
    }
    return { experts: count(field(block, 'num_local_experts')), window };
  });
}

/** Absent, gpt_oss alternates, beginning with a sliding layer. */
function layerTypes(config: Place): string[] {
  const layers = count(field(config, 'num_hidden_layers'));
  const place = field(config, 'layer_types');
  if (isAbsent(place) || place.value === null) {
    return Array.from({ length: layers }, (_, i) => (i % 2 === 0 ? 'sliding_attention' : 'full_attention'));
  }
  const types = list(attentionTypes)(place);
  if (types.length !== layers) wrong(place, `${layers} entries, one a layer`, `${types.length}`);
  return types;
}

function expertBits(config: Place): number {
  const quantization = field(config, 'quantization_config');
  if (isAbsent(quantization) || quantization.value === null) return weightBytes(config) * 8;
  return oneOf(['mxfp4', 'fp8'])(field(quantization, 'quant_method')) === 'mxfp4' ? 4.25 : 8;
}

function weightBytes(config: Place): number {
  const named = ['dtype', 'torch_dtype'].map((name) => field(config, name)).find((place) => !isAbsent(place));
  if (named === undefined) return 2;
  return dtypeBytes[text(named)] ?? wrong(named, Object.keys(dtypeBytes).join(' or '));
}
