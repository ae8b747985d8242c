import type { ModelShape } from './config.ts';
import { kvBytes, modelSize } from './geometry.ts';
import {
  batchSeconds,
  bestThroughput,
  cacheCapacityBytes,
  maximumBatch,
  throughputAt,
  type Serving,
} from './roofline.ts';

/** What writing answers on servers of one layout takes. */
export interface Generation {
  /** Requests at once on a replica: the best that fit, at most those that are asked for. */
  batch: number;
  /** Of one answer token, all GPUs of the replica together. */
  gpuSecondsPerToken: number;
  /** Bytes a GPU; `total` is what the engine takes, weights, cache and its own. */
  memory: { weights: number; cache: number; total: number };
}

/** By the roofline; undefined where not even one request fits beside the weights. */
export function generation(
  shape: ModelShape,
  serving: Serving,
  mostRequests = Infinity,
): Generation | undefined {
  const fits = maximumBatch(shape, serving);
  if (fits < 1) return undefined;
  const found =
    mostRequests < fits
      ? throughputAt(shape, { serving, batch: mostRequests })
      : bestThroughput(shape, serving);
  if (found === undefined) return undefined;
  return {
    batch: found.batch,
    gpuSecondsPerToken: (serving.gpus * serving.replicas) / found.tokensPerSecond,
    memory: generationMemory(shape, serving, found.batch),
  };
}

/**
 * Seconds in which so many requests at once, spread over the replicas, are all answered; undefined where not even one fits.
 * What does not fit beside the others waits for them.
 */
export function roundSeconds(shape: ModelShape, serving: Serving, requests: number): number | undefined {
  const fits = maximumBatch(shape, serving);
  if (fits < 1) return undefined;
  const each = Math.ceil(requests / serving.replicas);
  const waves = Math.ceil(each / fits);
  return waves * batchSeconds(shape, { serving, batch: Math.ceil(each / waves) });
}

/** Also of what does not fit: then it says how much is missing. */
export function generationMemory(shape: ModelShape, serving: Serving, batch: number): Generation['memory'] {
  const { gpus, hardware, engine, inputTokens, outputTokens, kvElementBytes } = serving;
  const weights = modelSize(shape).bytes / gpus;
  const cache = (batch * kvBytes(shape, inputTokens + outputTokens, kvElementBytes)) / gpus;
  const own = hardware.memoryBytes * engine.memoryShare - cacheCapacityBytes(serving) / gpus;
  return { weights, cache, total: weights + cache + own };
}

/** The same checkpoint with its experts as bf16: what runs without kernels for MXFP4 holds and reads. */
export function withPlainExperts(shape: ModelShape): ModelShape {
  return { ...shape, expertWeightBits: 16 };
}
