import type { LayerShape, ModelShape } from './config.ts';
import type { EngineModel } from './engine-model.ts';
import {
  attentionParameters,
  cachedTokens,
  expertSizeBytes,
  expertWeights,
  kvBytes,
  kvBytesPerToken,
  modelSize,
  routerParameters,
} from './geometry.ts';
import type { Hardware } from './hardware.ts';

/** One way of serving: replicas of some GPUs in tensor parallel, and requests of one shape. */
export interface Serving {
  hardware: Hardware;
  engine: EngineModel;
  /** GPUs of one replica: attention, and experts unless they are spread, are cut into as many slices. */
  gpus: number;
  /**
   * GPUs of a replica over which whole experts are spread: 1 (every expert is sliced) or `gpus`. As vLLM's
   * `--enable-expert-parallel` beside tensor-parallel attention: each GPU holds experts / gpus of a layer.
   * @see https://docs.vllm.ai/en/latest/serving/expert_parallel_deployment.html
   */
  expertParallel: number;
  /** Servers side by side, each with all weights; throughput adds up, a batch is that of one. */
  replicas: number;
  inputTokens: number;
  outputTokens: number;
  /** Bytes of one key or value element: 2 for bf16, 1 for FP8. */
  kvElementBytes: 1 | 2;
}

/** Seconds that one layer takes: of a decoding step of the whole batch, and of one request's prompt. */
export interface LayerTime {
  decodeSeconds: number;
  prefillSeconds: number;
}

export interface Throughput {
  /** Requests at once on one replica. */
  batch: number;
  /** Generated tokens a second, all requests, GPUs and replicas together. */
  tokensPerSecond: number;
  /** Seconds between two tokens of one request. */
  secondsPerToken: number;
}

/** The part of a batch's time that a layer is answerable for; times of layers add up. */
export function layerTime(
  shape: ModelShape,
  layer: LayerShape,
  given: { serving: Serving; batch: number },
): LayerTime {
  const { serving, batch } = given;
  const decodeSeconds =
    denseSeconds(attentionParameters(shape) + routerParameters(shape, layer.experts), shape, given) +
    expertSeconds(shape, layer.experts, given) +
    (batch * kvBytesPerToken(shape, serving.kvElementBytes) * meanCachedTokens(layer, serving)) /
      (serving.gpus *
        serving.hardware.memoryBandwidth *
        serving.engine.kvEfficiency[serving.kvElementBytes]) +
    reduceSeconds(shape, given);
  return { decodeSeconds, prefillSeconds: prefillSeconds(shape, layer, serving) };
}

/** Time of a batch that no choice of layers changes: output matrix and the step itself, in a decoding step. */
export function fixedDecodeSeconds(shape: ModelShape, given: { serving: Serving; batch: number }): number {
  return (
    given.serving.engine.stepSeconds + denseSeconds(shape.vocabularySize * shape.hiddenSize, shape, given)
  );
}

/** Seconds of `batch` requests served together from first prompt to last token. */
export function batchSeconds(shape: ModelShape, given: { serving: Serving; batch: number }): number {
  return secondsOf(shape, distinctLayers(shape), given);
}

function secondsOf(
  shape: ModelShape,
  layers: readonly DistinctLayer[],
  given: { serving: Serving; batch: number },
): number {
  let decode = fixedDecodeSeconds(shape, given);
  let prefill = 0;
  for (const { layer, times } of layers) {
    const time = layerTime(shape, layer, given);
    decode += times * time.decodeSeconds;
    prefill += times * time.prefillSeconds;
  }
  return given.serving.outputTokens * decode + given.batch * prefill;
}

interface DistinctLayer {
  layer: LayerShape;
  times: number;
}

/** Models have many layers of few kinds; each kind is worked out once. */
function distinctLayers(shape: ModelShape): DistinctLayer[] {
  const found: DistinctLayer[] = [];
  for (const layer of shape.layers) {
    const same = found.find(
      (entry) => entry.layer.experts === layer.experts && entry.layer.window === layer.window,
    );
    if (same === undefined) found.push({ layer, times: 1 });
    else same.times++;
  }
  return found;
}

export function throughputAt(shape: ModelShape, given: { serving: Serving; batch: number }): Throughput {
  return throughputIn(batchSeconds(shape, given), given);
}

function throughputIn(seconds: number, given: { serving: Serving; batch: number }): Throughput {
  const { serving, batch } = given;
  return {
    batch,
    tokensPerSecond: (serving.replicas * batch * serving.outputTokens) / seconds,
    secondsPerToken: seconds / serving.outputTokens,
  };
}

/** The best batch that fits, or undefined when not even one request does. */
export function bestThroughput(shape: ModelShape, serving: Serving): Throughput | undefined {
  const most = Math.min(maximumBatch(shape, serving), largestBatch);
  const layers = distinctLayers(shape);
  let best: Throughput | undefined;
  for (const batch of batchesUpTo(most)) {
    const given = { serving, batch };
    const found = throughputIn(secondsOf(shape, layers, given), given);
    if (best === undefined || found.tokensPerSecond > best.tokensPerSecond) best = found;
  }
  return best;
}

/** Requests whose whole context fits beside the weights. */
export function maximumBatch(shape: ModelShape, serving: Serving): number {
  const context = serving.inputTokens + serving.outputTokens;
  const room = cacheCapacityBytes(serving) - modelSize(shape).bytes;
  return Math.max(0, Math.floor(room / kvBytes(shape, context, serving.kvElementBytes)));
}

/** Bytes for weights and cache, all GPUs of a replica together. */
export function cacheCapacityBytes({ hardware, engine, gpus }: Serving): number {
  return gpus * (hardware.memoryBytes * engine.memoryShare - engine.reservedBytes);
}

const largestBatch = 4096;

/** Every batch to 64, then steps of an eighth: throughput is smooth there. */
function batchesUpTo(most: number): number[] {
  const batches: number[] = [];
  for (let batch = 1; batch < most; batch += Math.max(1, Math.floor(batch / 8 / 8) * 8)) batches.push(batch);
  if (most >= 1) batches.push(most);
  return batches;
}

/** Reading weights once, or multiplying them with every token of the batch: whichever takes longer. */
function denseSeconds(
  parameters: number,
  shape: ModelShape,
  { serving, batch }: { serving: Serving; batch: number },
): number {
  const { hardware, engine, gpus } = serving;
  const read = (parameters * shape.weightBytes) / (hardware.memoryBandwidth * engine.weightEfficiency);
  const multiply = (2 * parameters * batch) / (hardware.flops * engine.flopEfficiency);
  return Math.max(read, multiply) / gpus;
}

/**
 * Experts that B tokens touch, each choosing k of E at random: D = E (1 - (1 - k/E)^B). Rows are
 * padded to tiles of clip(2^ceil(log2 2m), 16, 128) for m = kB/D tokens an expert. Spread whole over GPUs,
 * the layer waits for the GPU with most experts touched, or most rows.
 */
function expertSeconds(
  shape: ModelShape,
  experts: number,
  { serving, batch }: { serving: Serving; batch: number },
): number {
  const { hardware, engine, gpus } = serving;
  const touched = experts * (1 - (1 - shape.expertsPerToken / experts) ** batch);
  const tokensEach = (shape.expertsPerToken * batch) / touched;
  const tile = Math.min(128, Math.max(16, 2 ** Math.ceil(Math.log2(2 * tokensEach))));
  const rows = touched * (tokensEach + tile / 2);
  const read = (touched * expertSizeBytes(shape)) / (hardware.memoryBandwidth * engine.weightEfficiency);
  const multiply = (2 * expertWeights(shape) * rows) / (hardware.flops * engine.flopEfficiency);
  if (serving.expertParallel === 1) return Math.max(read, multiply) / gpus;
  const routed = shape.expertsPerToken * batch;
  const busiest = {
    read: Math.min(experts / gpus, fullest(touched / gpus, gpus, 1 - touched / experts)) / touched,
    multiply: Math.min(1, fullest(routed / gpus, gpus, 1) / routed),
  };
  return Math.max(read * busiest.read, multiply * busiest.multiply);
}

/**
 * Expected largest of `bins` counts of this mean, taken as normal with variance mean x spread:
 * mean + sqrt(2 ln(bins) variance), the first term of the maximum of normal variables.
 */
function fullest(mean: number, bins: number, spread: number): number {
  return mean + Math.sqrt(2 * Math.log(bins) * mean * spread);
}

/** Two all-reduces a layer, of the batch's hidden states in bf16. */
function reduceSeconds(shape: ModelShape, { serving, batch }: { serving: Serving; batch: number }): number {
  const { hardware, engine, gpus } = serving;
  if (gpus === 1) return 0;
  const bytes = ((2 * (gpus - 1)) / gpus) * batch * shape.hiddenSize * 2;
  return 2 * (engine.reduceSeconds + bytes / (hardware.linkBandwidth * engine.linkEfficiency));
}

/** Mean over the decoding steps of the tokens a layer's cache holds. */
function meanCachedTokens(layer: LayerShape, { inputTokens, outputTokens }: Serving): number {
  const end = inputTokens + outputTokens;
  return sumOfCachedTokens(layer, inputTokens, end) / outputTokens;
}

/** Sum of min(context, window) for contexts from `from` to `to`. */
function sumOfCachedTokens(layer: LayerShape, from: number, to: number): number {
  const cap = Math.min(to, Math.max(from, cachedTokens(layer, to)));
  const growing = ((cap - from) * (cap + from)) / 2;
  return growing + (to - cap) * cachedTokens(layer, to);
}

/** A prompt's matrix products and attention, at the engine's share of peak. */
function prefillSeconds(shape: ModelShape, layer: LayerShape, serving: Serving): number {
  const { hardware, engine, gpus, inputTokens } = serving;
  const weights =
    attentionParameters(shape) +
    routerParameters(shape, layer.experts) +
    shape.expertsPerToken * expertWeights(shape);
  const attended = sumOfCachedTokens(layer, 0, inputTokens) * shape.attentionHeads * shape.headDim;
  const flops = 2 * weights * inputTokens + 4 * attended;
  return flops / (gpus * hardware.flops * engine.flopEfficiency);
}
