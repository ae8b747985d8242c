import type { LayerShape, ModelShape } from './config.ts';

/** Counts and stored bytes of a checkpoint, by what holds them. */
export interface ModelSize {
  parameters: number;
  /** Parameters one token meets: all but the experts it is not routed to and the input embedding. */
  activeParameters: number;
  bytes: number;
  expertBytes: number;
  experts: number;
  /** Layers with full attention. */
  fullAttentionLayers: number;
}

export const gibibyte = 2 ** 30;

export function modelSize(shape: ModelShape): ModelSize {
  const shared = embeddingParameters(shape) + outputParameters(shape);
  let parameters = shared;
  let activeParameters = shape.hiddenSize + shape.vocabularySize * shape.hiddenSize;
  let bytes = shared * shape.weightBytes;
  let expertBytes = 0;
  let experts = 0;
  for (const layer of shape.layers) {
    const dense = attentionParameters(shape) + routerParameters(shape, layer.experts);
    parameters += dense + layer.experts * expertParameters(shape);
    activeParameters += dense + shape.expertsPerToken * expertParameters(shape);
    bytes += layerBytes(shape, layer);
    expertBytes += layer.experts * expertSizeBytes(shape);
    experts += layer.experts;
  }
  const fullAttentionLayers = shape.layers.filter((layer) => layer.window === null).length;
  return { parameters, activeParameters, bytes, expertBytes, experts, fullAttentionLayers };
}

/** Stored bytes of one layer: attention, norms, router and experts. */
export function layerBytes(shape: ModelShape, layer: LayerShape): number {
  const dense = attentionParameters(shape) + routerParameters(shape, layer.experts);
  return dense * shape.weightBytes + layer.experts * expertSizeBytes(shape);
}

/** Parameters of one layer, all its experts counted. */
export function layerParameters(shape: ModelShape, layer: LayerShape): number {
  return (
    attentionParameters(shape) +
    routerParameters(shape, layer.experts) +
    layer.experts * expertParameters(shape)
  );
}

/** q, k, v, o with their biases, one sink a head, and the layer's two norms. */
export function attentionParameters(shape: ModelShape): number {
  const query = shape.attentionHeads * shape.headDim;
  const keyValue = shape.keyValueHeads * shape.headDim;
  const weights = 2 * shape.hiddenSize * query + 2 * shape.hiddenSize * keyValue;
  const biases = shape.hasAttentionBias ? query + 2 * keyValue + shape.hiddenSize : 0;
  return weights + biases + shape.attentionHeads + 2 * shape.hiddenSize;
}

/** One row and one bias an expert. */
export function routerParameters(shape: ModelShape, experts: number): number {
  return experts * (shape.hiddenSize + 1);
}

/** Weights of one expert: fused gate and up, then down. */
export function expertWeights(shape: ModelShape): number {
  return 3 * shape.hiddenSize * shape.intermediateSize;
}

export function expertParameters(shape: ModelShape): number {
  return expertWeights(shape) + expertBiases(shape);
}

/** Quantised weights, and biases at the precision of the rest. */
export function expertSizeBytes(shape: ModelShape): number {
  return (expertWeights(shape) * shape.expertWeightBits) / 8 + expertBiases(shape) * shape.weightBytes;
}

export function embeddingParameters(shape: ModelShape): number {
  return shape.vocabularySize * shape.hiddenSize;
}

/** The final norm, and the output matrix unless it is the embedding. */
export function outputParameters(shape: ModelShape): number {
  return shape.hiddenSize + (shape.tiedEmbeddings ? 0 : shape.vocabularySize * shape.hiddenSize);
}

/** Bytes of keys and values that one token leaves in one layer; `elementBytes` is 2 for bf16, 1 for FP8. */
export function kvBytesPerToken(shape: ModelShape, elementBytes: number): number {
  return 2 * shape.keyValueHeads * shape.headDim * elementBytes;
}

/** Tokens that stay in a layer's cache at a context: the window caps them. */
export function cachedTokens(layer: LayerShape, contextTokens: number): number {
  return layer.window === null ? contextTokens : Math.min(layer.window, contextTokens);
}

/** KV cache of one sequence at a context length, ideal: no pages, no padding. */
export function kvBytes(shape: ModelShape, contextTokens: number, elementBytes: number): number {
  const tokens = shape.layers.reduce((sum, layer) => sum + cachedTokens(layer, contextTokens), 0);
  return tokens * kvBytesPerToken(shape, elementBytes);
}

/** The same checkpoint with other layers. */
export function withLayers(shape: ModelShape, layers: readonly LayerShape[]): ModelShape {
  return { ...shape, layers };
}

function expertBiases(shape: ModelShape): number {
  return 2 * shape.intermediateSize + shape.hiddenSize;
}
