import type { LayerShape, ModelShape } from './config.ts';
import {
  attentionParameters,
  embeddingParameters,
  expertWeights,
  modelSize,
  outputParameters,
  routerParameters,
} from './geometry.ts';

/**
 * How a training is spread: weights, gradients and moments sharded over all GPUs (ZeRO stage 3, arXiv 1910.02054;
 * torch's fully_shard), a sequence's tokens over `context`, whole experts over `expert`.
 */
export interface Layout {
  gpus: number;
  /** GPUs that share the tokens of a sequence. */
  context: number;
  /** GPUs over which a layer's experts are spread; 1 gathers all of a layer's experts on every GPU. */
  expert: number;
  /** Sequences a GPU (or the GPUs that share a sequence) works on at once. */
  microBatch: number;
  sequenceTokens: number;
  /** Positions whose logits are in memory at once. */
  logitChunk: number;
}

/** Bytes a GPU. */
export interface TrainingMemory {
  /** Shards of all weights in bf16: those trained, the frozen ones and the teacher's. */
  weights: number;
  /** Master weights, gradient and two moments of what is trained, in float32. */
  optimizer: number;
  /** The layer at work and the next, put together from their shards. */
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
  return layers + 2 * shape.vocabularySize * shape.hiddenSize;
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
 * One token of training with experts and router frozen: forward twice (activations are made again for the way
 * back), back through everything, and weight gradients of all but the experts. `teacher` runs forward beside it.
 */
export function trainingFlops(
  shape: ModelShape,
  sequenceTokens: number,
  teacher: ModelShape | undefined,
): number {
  const dense = denseFlops(shape, sequenceTokens);
  const experts = expertFlops(shape);
  const beside = teacher === undefined ? 0 : forwardFlops(teacher, sequenceTokens);
  return 2 * (dense + experts) + (dense + experts) + dense + beside;
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
  const tokens = (layout.microBatch * layout.sequenceTokens) / layout.context;
  const memory = {
    weights: (2 * heldParameters(shape, teacher)) / layout.gpus,
    optimizer: (16 * trainedParameters(shape)) / layout.gpus,
    gathered:
      2 * Math.max(gatheredBytes(shape, layout), teacher === undefined ? 0 : gatheredBytes(teacher, layout)),
    activations: tokens * activationBytes(shape),
    logits: Math.min(tokens, layout.logitChunk) * shape.vocabularySize * (teacher === undefined ? 8 : 16),
  };
  return { ...memory, total: Object.values(memory).reduce((sum, bytes) => sum + bytes, 0) };
}

/**
 * Beside a teacher the student holds no experts: they are rows of the teacher's, looked up there. It holds what is
 * trained, and its rows of the routers.
 */
function heldParameters(shape: ModelShape, teacher: ModelShape | undefined): number {
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

/**
 * Bytes a token: the input of every layer in bf16 (the rest is made again), and of the layer at work queries, keys,
 * values and heads' output, and k experts' inner states and outputs, each with its gradient.
 */
function activationBytes(shape: ModelShape): number {
  const kept = 2 * shape.layers.length * shape.hiddenSize;
  const attention = (2 * shape.attentionHeads + 2 * shape.keyValueHeads) * shape.headDim;
  const experts = shape.expertsPerToken * (4 * shape.intermediateSize + 2 * shape.hiddenSize);
  return kept + 2 * 2 * (attention + experts + 4 * shape.hiddenSize);
}
