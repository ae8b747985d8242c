/**
 * What a serving engine makes of the hardware. `ideal` is the peak; `fitted` comes from two of the
 * four published throughput ratios of gpt-oss-puzzle-88B over gpt-oss-120b in vLLM on H100.
 */
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

export const fittedEngine: EngineModel = {
  ...idealEngine,
  weightEfficiency: 0.89,
  kvEfficiency: { 1: 0.525, 2: 0.525 },
  flopEfficiency: 0.158,
  reservedBytes: 8.6 * 2 ** 30,
};

/**
 * Over all splits of the four published ratios into two fitted and two held out, a held-out ratio is
 * off by 15 % on average and 34 % at worst. Every predicted ratio is shown with this band until the
 * model is fitted to points of the user's own engine.
 */
export const predictionBand = { mean: 0.15, worst: 0.34 } as const;
