import { fittedEngine, predictionBand } from '../costs/engine-model.ts';
import { generation, generationMemory, withPlainExperts } from '../costs/generation.ts';
import { gibibyte } from '../costs/geometry.ts';
import { hardware } from '../costs/hardware.ts';
import type { Serving } from '../costs/roofline.ts';
import { trainingTime, type Utilisation } from '../costs/training-time.ts';
import { forwardFlops, trainingFlops, trainingMemory, type Layout } from '../costs/training.ts';
import { numberIn, type EstimateInput, type Range, type Settings, type Work } from './kind.ts';

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

export function productOf(input: EstimateInput, names: readonly string[]): number | undefined {
  let product = 1;
  for (const name of names) {
    const value = numberIn(input.with, name);
    if (value === undefined) return undefined;
    product *= value;
  }
  return product;
}

export interface Training {
  sequenceTokens: number;
  hasTeacher: boolean;
  /** Positions whose logits are whole at once. */
  logitChunk: number;
}

/** Training of this many tokens in sequences of a length, in the layout that `resources` names. */
export function trainingWork(
  input: EstimateInput,
  tokens: number | undefined,
  given: Training,
): Work | undefined {
  const { model, resources } = input;
  if (model?.shape === undefined || tokens === undefined || resources.gpus === 0) return undefined;
  const { shape } = model;
  const teacher = given.hasTeacher ? shape : undefined;
  const layout = layoutOf(input, given);
  const { total, ...parts } = trainingMemory(shape, layout, teacher);
  const { low, high } = trainingTime(shape, layout, {
    hardware: gpu,
    utilisation,
    teacher,
  }).gpuSecondsPerToken;
  return {
    flops: tokens * trainingFlops(shape, layout, teacher),
    memory: { ...parts, total },
    seconds: { low: tokens * low, high: tokens * high },
  };
}

/** Everything is sharded over all GPUs of the stage, as the engine does, unless another layout is asked about. */
export function layoutOf({ resources }: EstimateInput, given: Training): Layout {
  return {
    gpus: resources.gpus,
    shard: resources.shard ?? resources.gpus,
    context: resources.context_parallel ?? 1,
    expert: 1,
    microBatch: resources.micro_batch ?? 1,
    sequenceTokens: given.sequenceTokens,
    logitChunk: given.logitChunk,
    isRecomputed: resources.recompute_activations === 1,
    expertChunk,
  };
}

/** The engine's own (methods/distill/experts.py, TOKENS_AT_ONCE). */
export const expertChunk = 65_536;

/** Arithmetic of GPUs at the share of peak that it reaches in training. */
const utilisation: Utilisation = { best: 0.45, worst: 0.1 };

/** Device seconds of work on GPUs; undefined where no formula knows the work. */
export function workCost(work: Work | undefined): Range | undefined {
  return work?.seconds;
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
  const flops = tokens * given.passes * forwardFlops(model.shape, given.sequenceTokens);
  const { low, high } = sustained.gpu.dense;
  return { flops, memory: { total }, seconds: { low: flops / high, high: flops / low } };
}

/** The engine's own default (methods/score/budget.py). */
export const defaultScoringGib = 4;

export interface Decoding {
  /** Longest answer. Prompts are left out: how long they are is not known before they are made. */
  outputTokens: number;
  /** Answers in progress at once in an engine that makes no batches of its own. */
  batch: number;
  engine: RolloutEngine;
  /** Answers end earlier: what share of their cap they may come down to. */
  shortest: number;
}

/** transformers: a whole copy on every GPU, experts as bf16; vllm, server: vLLM on a node's GPUs, experts as stored. */
export type RolloutEngine = 'transformers' | 'vllm' | 'server';

/** By `rollout` of a stage that writes answers. */
export function rolloutEngine({ rollout }: Settings): RolloutEngine {
  const named = typeof rollout === 'object' && rollout !== null && 'engine' in rollout ? rollout.engine : '';
  return named === 'vllm' || named === 'server' ? named : 'transformers';
}

/** Decoding of at most this many tokens, by the roofline as fitted to vLLM; what transformers makes of it is at best that. */
export function decodingWork(
  input: EstimateInput,
  tokens: number | undefined,
  given: Decoding,
): Work | undefined {
  const { model, resources } = input;
  if (model?.shape === undefined || tokens === undefined || resources.gpus === 0) return undefined;
  const isPlain = given.engine === 'transformers';
  const shape = isPlain ? withPlainExperts(model.shape) : model.shape;
  const serving = servingOf(resources, given);
  const flops = tokens * forwardFlops(model.shape, given.outputTokens);
  const found = generation(shape, serving, isPlain ? given.batch : undefined);
  if (found === undefined)
    return { flops, memory: { ...generationMemory(shape, serving, 1) }, seconds: undefined };
  const seconds = tokens * found.gpuSecondsPerToken;
  const { worst } = predictionBand;
  const high = seconds * (1 + worst);
  return {
    flops,
    memory: { ...found.memory },
    seconds: {
      low: seconds * (1 - worst) * given.shortest,
      high: isPlain ? Math.max(high, flops / sustained.gpu.decode.low) : high,
    },
  };
}

function servingOf(resources: EstimateInput['resources'], { engine, outputTokens }: Decoding): Serving {
  const ofNode = resources.tensor_parallel ?? Math.min(resources.gpus, gpu.nodeGpus);
  return {
    ...{ hardware: gpu, engine: fittedEngine, gpus: engine === 'transformers' ? 1 : ofNode },
    ...{ expertParallel: 1, replicas: 1, inputTokens: 0, outputTokens, kvElementBytes: 2 },
  };
}

/** What decoding costs; where no formula knows the work, at the share of peak that decoding reaches. */
export function decodingCost(
  input: EstimateInput,
  tokens: number | undefined,
  given: Decoding,
): Range | undefined {
  const work = decodingWork(input, tokens, given);
  if (work !== undefined) return work.seconds;
  const cost = tokensCost(input, tokens, { flopsPerParameter: forward, phase: 'decode' });
  return cost === undefined ? undefined : { low: cost.low * given.shortest, high: cost.high };
}

/** Costs are told in hours of this GPU. */
const gpu = hardware['h100-sxm'];
