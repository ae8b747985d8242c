import type { Hardware } from './hardware.ts';

/** What a serving engine makes of the hardware: `idealEngine` is the peak, `fittedEngine` what vLLM reaches. */
export interface EngineModel {
  /** Share of memory bandwidth reached when weights are read. */
  weightEfficiency: number;
  /** Share of memory bandwidth reached when keys and values are read, by bytes of an element. */
  kvEfficiency: Readonly<Record<1 | 2, number>>;
  /** Share of peak FLOP/s reached by matrix products. */
  flopEfficiency: number;
  /** Share of a GPU's memory that the engine takes. */
  memoryShare: number;
  /** Bytes a GPU that are neither weights nor cache: activations, graphs, buffers. */
  reservedBytes: number;
  /** Seconds of one all-reduce apart from its bytes, when there is more than one GPU. */
  reduceSeconds: number;
  /** Share of link bandwidth that an all-reduce reaches. */
  linkEfficiency: number;
  /** Seconds of a decoding step that no layer accounts for. */
  stepSeconds: number;
}

export const idealEngine: EngineModel = {
  weightEfficiency: 1,
  kvEfficiency: { 1: 1, 2: 1 },
  flopEfficiency: 1,
  memoryShare: 0.95,
  reservedBytes: 0,
  reduceSeconds: 8e-6,
  linkEfficiency: 0.7,
  stepSeconds: 0,
};

/** Bytes of a GPU's memory that an engine may take: the driver and fragments need the rest. */
export function usableBytes({ memoryBytes }: Hardware, { memoryShare }: EngineModel = idealEngine): number {
  return memoryBytes * memoryShare;
}

/** `fitEngine` on all four published points (test/costs/fit.test.ts holds it to that): vLLM on H100. */
export const fittedEngine: EngineModel = {
  ...idealEngine,
  weightEfficiency: 0.73,
  kvEfficiency: { 1: 0.549, 2: 1 },
  flopEfficiency: 0.155,
  reservedBytes: 7.26 * 2 ** 30,
};

/** How far a prediction may be off, as shares: on average over held-out points, and at worst. */
export interface Band {
  mean: number;
  worst: number;
}

/**
 * How far a predicted ratio of two models may be off: fitted to any two of the four published points,
 * the ratios of the other two are off by 13 % on average and 29 % at worst. Shown beside every predicted
 * figure until the model is fitted to points of the user's own engine (`fretsaw costs fit`).
 */
export const predictionBand: Band = { mean: 0.13, worst: 0.3 };
