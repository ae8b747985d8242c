import { idealEngine } from '../costs/engine-model.ts';
import { gibibyte, modelSize } from '../costs/geometry.ts';
import { hardware } from '../costs/hardware.ts';
import { forwardFlops, trainingFlops, trainingMemory } from '../costs/training.ts';
import { numberIn, type EstimateInput, type Range, type Work } from './kind.ts';

/**
 * Sustained FLOP/s of one device, as a band. GPU: H100 SXM peak 989e12 bf16, of which training of
 * mixture-of-experts models reaches 10-45 %; decoding is bound by memory and reaches 0.5-5 %.
 * CPU: one core on matrices of hidden size 64-96 sustains 1-20e9 (reference: 1.3M parameters, 4160
 * tokens in 0.45 s forward and backward is 7e10 in bursts, generation 1-4 thousand tokens/s is 2-10e9).
 */
const sustained = {
  gpu: {
    dense: { low: 989e12 * 0.1, high: 989e12 * 0.45 },
    decode: { low: 989e12 * 0.005, high: 989e12 * 0.05 },
  },
  cpu: { dense: { low: 5e9, high: 70e9 }, decode: { low: 1e9, high: 12e9 } },
} as const;

/** FLOPs for one token per active parameter: 2 forward, 4 backward (Kaplan et al., arXiv 2001.08361). */
export const forward = 2;
export const forwardAndBackward = 6;

/** Device seconds for `tokens` tokens at `flopsPerParameter`; undefined when the model is unknown. */
export function tokensCost(
  input: EstimateInput,
  tokens: number | undefined,
  work: { flopsPerParameter: number; phase: 'dense' | 'decode' },
): Range | undefined {
  if (input.model === undefined || tokens === undefined) return undefined;
  const flops = tokens * input.model.activeParameters * work.flopsPerParameter;
  const band = sustained[input.resources.gpus > 0 ? 'gpu' : 'cpu'][work.phase];
  return { low: flops / band.high, high: flops / band.low };
}

/** Nothing is known before the first run of this kind: its records are the only source. */
export function unknownCost(): undefined {
  return undefined;
}

/** A stage that only reads and writes small documents. */
export function fixedCost(low: number, high: number): (input: EstimateInput) => Range {
  return () => ({ low, high });
}

/** Stored bytes of a parameter: 4.25 bits for the experts, which are nearly all of them. */
const bytesPerParameter = 0.53;

/** Reads and writes every byte of a model `times` times, at 0.2-2 GB/s; a second for the start. */
export function copyCost(times: number): (input: EstimateInput) => Range | undefined {
  return ({ model }) => {
    if (model === undefined) return undefined;
    const bytes = model.parameters * bytesPerParameter * times;
    return { low: bytes / 2e9, high: 1 + bytes / 0.2e9 };
  };
}

/** Tokens that a scoring or calibrating stage reads: what it asks for, at most what there is. */
export function tokensRead({ with: settings, data }: EstimateInput): number | undefined {
  const asked = numberIn(settings, 'tokens');
  if (asked === undefined || data === undefined) return asked ?? data?.tokens;
  return Math.min(asked, data.tokens);
}

/** Length of the rows that a stage reads, as far as is known. */
export function rowTokens({ data }: EstimateInput): number {
  return data === undefined || data.examples === 0 ? 1 : Math.max(1, data.tokens / data.examples);
}

/** Decoding `tokens` at most; answers end earlier, often after a tenth. */
export function decodeCost(input: EstimateInput, tokens: number | undefined): Range | undefined {
  const cost = tokensCost(input, tokens, { flopsPerParameter: forward, phase: 'decode' });
  return cost === undefined ? undefined : { low: cost.low / 10, high: cost.high };
}

export function productOf(input: EstimateInput, names: readonly string[]): number | undefined {
  let product = 1;
  for (const name of names) {
    const value = numberIn(input.with, name);
    if (value === undefined) return undefined;
    product *= value;
  }
  return product;
}

/** Training of this many tokens in sequences of a length, all GPUs of the stage sharding one copy. */
export function trainingWork(
  input: EstimateInput,
  tokens: number | undefined,
  given: { sequenceTokens: number; hasTeacher: boolean; logitChunk: number },
): Work | undefined {
  const { model, resources } = input;
  if (model?.shape === undefined || tokens === undefined || resources.gpus === 0) return undefined;
  const teacher = given.hasTeacher ? model.shape : undefined;
  const { total, ...parts } = trainingMemory(
    model.shape,
    {
      gpus: resources.gpus,
      context: resources.context_parallel ?? 1,
      expert: 1,
      microBatch: resources.micro_batch ?? 1,
      sequenceTokens: given.sequenceTokens,
      logitChunk: given.logitChunk,
    },
    teacher,
  );
  const flops = tokens * trainingFlops(model.shape, given.sequenceTokens, teacher);
  return { flops, memory: { ...parts, total } };
}

/** Device seconds of work on GPUs at the share of peak that such work reaches. */
export function workCost(work: Work | undefined): Range | undefined {
  if (work === undefined) return undefined;
  const { low, high } = sustained.gpu.dense;
  return { low: work.flops / high, high: work.flops / low };
}

/** `passes` forward passes over tokens, the model streamed from disk within a budget of memory. */
export function scoringWork(
  input: EstimateInput,
  tokens: number | undefined,
  given: { passes: number; sequenceTokens: number },
): Work | undefined {
  const { model, resources } = input;
  if (model?.shape === undefined || tokens === undefined || resources.gpus === 0) return undefined;
  const total = (resources.memory_gib ?? defaultScoringGib) * gibibyte;
  return {
    flops: tokens * given.passes * forwardFlops(model.shape, given.sequenceTokens),
    memory: { total },
  };
}

/** The engine's own default (methods/score/budget.py). */
const defaultScoringGib = 4;

/** Decoding on servers of eight GPUs or fewer: weights, and all the cache that there is room for. */
export function decodingWork(
  input: EstimateInput,
  tokens: number | undefined,
  outputTokens: number,
): Work | undefined {
  const { model, resources } = input;
  if (model?.shape === undefined || tokens === undefined || resources.gpus === 0) return undefined;
  const gpus = Math.min(resources.gpus, gpusOfServer);
  const weights = modelSize(model.shape).bytes / gpus;
  const total = serverGpu.memoryBytes * idealEngine.memoryShare;
  return {
    flops: tokens * forwardFlops(model.shape, outputTokens),
    memory: { weights, cache: Math.max(0, total - weights), total: Math.max(weights, total) },
  };
}

const gpusOfServer = 8;
const serverGpu = hardware['h100-sxm'];
