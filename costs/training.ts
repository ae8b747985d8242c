import type { LayerShape, ModelShape } from './config.ts';
import {
  attentionParameters,
  embeddingParameters,
  expertWeights,
  kvBytesPerToken,
  modelSize,
  outputParameters,
  routerParameters,
} from './geometry.ts';

/**
 * How a training is spread: weights, gradients and moments sharded over `shard` GPUs (ZeRO stage 3, arXiv 1910.02054;
 * torch's fully_shard) and copied beyond them (hybrid sharding, arXiv 2304.11277), a sequence's tokens over `context`
 * (all-gathered keys and values, arXiv 2407.21783), whole experts over `expert`.
 */
export interface Layout {
  gpus: number;
  /** GPUs that hold one copy together: all, or a divisor of them. */
  shard: number;
  /** GPUs that share the tokens of a sequence. */
  context: number;
  /** GPUs over which a layer's experts are spread; 1 gathers all of a layer's experts on every GPU. */
  expert: number;
  /** Sequences a GPU (or the GPUs that share a sequence) works on at once. */
  microBatch: number;
  sequenceTokens: number;
  /** Positions whose logits are in memory at once; 0 where they are never whole. */
  logitChunk: number;
  /** Activations inside a layer are made again on the way back, not kept (arXiv 1604.06174). */
  isRecomputed: boolean;
  /** Tokens whose experts' inner states exist at once where activations are made again. */
  expertChunk: number;
}

/** Bytes a GPU. */
export interface TrainingMemory {
  /** Shards of all weights in bf16: those trained, the frozen ones and the teacher's. */
  weights: number;
  /** Master weights, gradient and two moments of what is trained, in float32. */
  optimizer: number;
  /** Put together from their shards: the layer at work and the next, and embedding and output matrix throughout. */
  gathered: number;
  activations: number;
  logits: number;
  total: number;
}

/** Of a token of a sequence of this length: 2 FLOPs a weight that it meets, and attention over what it sees. */
export function forwardFlops(shape: ModelShape, sequenceTokens: number): number {
  return denseFlops(shape, sequenceTokens) + expertFlops(shape);
}

/** Attention, router and output matrix; in training these have a gradient of their weights (all but the router). */
function denseFlops(shape: ModelShape, sequenceTokens: number): number {
  const layers = shape.layers.reduce((sum, layer) => {
    const weights = attentionParameters(shape) + routerParameters(shape, layer.experts);
    const seen = meanSeen(layer, sequenceTokens) * shape.attentionHeads * shape.headDim;
    return sum + 2 * weights + 4 * seen;
  }, 0);
  return layers + outputFlops(shape);
}

function outputFlops(shape: ModelShape): number {
  return 2 * shape.vocabularySize * shape.hiddenSize;
}

function expertFlops(shape: ModelShape): number {
  return 2 * shape.layers.length * shape.expertsPerToken * expertWeights(shape);
}

/** Mean over a sequence of the keys a query sees: min(position, window). */
function meanSeen({ window }: LayerShape, tokens: number): number {
  if (window === null || window >= tokens) return (tokens + 1) / 2;
  return window * (1 - (window - 1) / (2 * tokens));
}

/**
 * One token of training with experts and router frozen: forward, back through everything, and weight gradients of all but
 * the experts. Made again on the way back: attention, and the experts' first of two products (two thirds of their
 * weights). `teacher` runs forward beside it.
 */
export function trainingFlops(
  shape: ModelShape,
  { sequenceTokens, isRecomputed }: Pick<Layout, 'sequenceTokens' | 'isRecomputed'>,
  teacher: ModelShape | undefined,
): number {
  const dense = denseFlops(shape, sequenceTokens);
  const experts = expertFlops(shape);
  const beside = teacher === undefined ? 0 : forwardFlops(teacher, sequenceTokens);
  const again = isRecomputed ? dense - outputFlops(shape) + (2 / 3) * experts : 0;
  return 3 * dense + 2 * experts + again + beside;
}

/** Parameters with a gradient: everything but experts and router. */
export function trainedParameters(shape: ModelShape): number {
  return (
    shape.layers.length * attentionParameters(shape) + embeddingParameters(shape) + outputParameters(shape)
  );
}

export function trainingMemory(
  shape: ModelShape,
  layout: Layout,
  teacher: ModelShape | undefined,
): TrainingMemory {
  const tokens = layout.microBatch * layout.sequenceTokens;
  const models = teacher === undefined ? [shape] : [shape, teacher];
  const ends = models.reduce((sum, model) => sum + embeddingParameters(model) + outputParameters(model), 0);
  const memory = {
    weights: (2 * heldParameters(shape, teacher)) / layout.shard,
    optimizer: (16 * trainedParameters(shape)) / layout.shard,
    gathered: 2 * Math.max(...models.map((model) => gatheredBytes(model, layout))) + 2 * ends,
    activations: activationBytes(shape, layout, models.length),
    logits: Math.min(tokens / layout.context, layout.logitChunk) * shape.vocabularySize * 8 * models.length,
  };
  return { ...memory, total: Object.values(memory).reduce((sum, bytes) => sum + bytes, 0) };
}

/**
 * Beside a teacher the student holds no experts: they are rows of the teacher's, looked up there. It holds what is
 * trained, and its rows of the routers.
 */
export function heldParameters(shape: ModelShape, teacher: ModelShape | undefined): number {
  if (teacher === undefined) return modelSize(shape).parameters;
  const routers = shape.layers.reduce((sum, { experts }) => sum + routerParameters(shape, experts), 0);
  return modelSize(teacher).parameters + trainedParameters(shape) + routers;
}

/** The largest layer in bf16, as one GPU has it while it works. */
function gatheredBytes(shape: ModelShape, layout: Layout): number {
  const experts = Math.max(...shape.layers.map((layer) => layer.experts));
  const dense = attentionParameters(shape) + routerParameters(shape, experts);
  return 2 * (dense + (experts / layout.expert) * expertWeights(shape));
}

/** What every layer keeps for the way back, what the layer at work needs beside it, and a whole sequence's keys and values. */
function activationBytes(shape: ModelShape, layout: Layout, models: number): number {
  const tokens = (layout.microBatch * layout.sequenceTokens) / layout.context;
  const kept = 2 * tokens * shape.layers.length * keptElements(shape, layout.isRecomputed);
  const attention = 2 * 2 * tokens * (attentionElements(shape) + 4 * shape.hiddenSize);
  const whole = layout.context === 1 ? 0 : 2 * tokens * layout.context * kvBytesPerToken(shape, 2);
  return kept + attention + whole + expertWorkBytes(shape, { layout, tokens, models });
}

/** Of a token and layer: made again, the layer's and its experts' input; else what attention saves, and k experts' first product. */
function keptElements(shape: ModelShape, isRecomputed: boolean): number {
  if (isRecomputed) return 2 * shape.hiddenSize;
  const experts = shape.expertsPerToken * 2 * shape.intermediateSize;
  return 4 * shape.hiddenSize + attentionElements(shape) + experts;
}

/** Queries, keys, values and heads' output of a token. */
function attentionElements(shape: ModelShape): number {
  return (2 * shape.attentionHeads + 2 * shape.keyValueHeads) * shape.headDim;
}

/**
 * In bf16, k experts a token: forward (both models' tokens) their input, first product, gated half, output and its order;
 * backward (the student's alone) gradients of the first three, and the gated half and its bare gradient.
 */
function expertWorkBytes(
  shape: ModelShape,
  { layout, tokens, models }: { layout: Layout; tokens: number; models: number },
): number {
  const together = tokens * models;
  const atOnce = layout.isRecomputed ? Math.min(together, layout.expertChunk) : together;
  const forward = 3 * shape.hiddenSize + 3 * shape.intermediateSize;
  const backward = (2 * shape.hiddenSize + 6 * shape.intermediateSize) / models;
  return 2 * atOnce * shape.expertsPerToken * Math.max(forward, backward);
}
