import type { ModelShape } from './config.ts';
import { kvBytesPerToken } from './geometry.ts';
import type { Hardware } from './hardware.ts';
import { heldParameters, trainedParameters, trainingFlops, type Layout } from './training.ts';

/** Seconds of one training pass over micro-batches, all GPUs at once, and the GPU-seconds that they are. */
export interface TrainingTime {
  /** Of one micro-batch on every GPU: arithmetic at the given share of peak. */
  computeSeconds: number;
  /** Of one micro-batch: bytes that a GPU receives, at the speed of the link that they cross. */
  trafficSeconds: number;
  /** GPU-seconds of a token, from all traffic hidden behind arithmetic to none. */
  gpuSecondsPerToken: { low: number; high: number };
}

/** Share of peak FLOP/s that arithmetic reaches: at best and at worst. */
export interface Utilisation {
  best: number;
  worst: number;
}

interface TrainingOn {
  hardware: Hardware;
  utilisation: Utilisation;
  teacher: ModelShape | undefined;
}

/** Time of a layout: low where traffic hides behind arithmetic at its best, high where both are waited for at the worst. */
export function trainingTime(
  shape: ModelShape,
  layout: Layout,
  { hardware, utilisation, teacher }: TrainingOn,
): TrainingTime {
  const tokens = (layout.microBatch * layout.sequenceTokens) / layout.context;
  const flops = tokens * trainingFlops(shape, layout, teacher);
  const computeSeconds = flops / (hardware.flops * utilisation.best);
  const slowest = flops / (hardware.flops * utilisation.worst);
  const trafficSeconds = trafficOf(shape, layout, { hardware, teacher });
  return {
    computeSeconds,
    trafficSeconds,
    gpuSecondsPerToken: {
      low: Math.max(computeSeconds, trafficSeconds) / tokens,
      high: (slowest + trafficSeconds) / tokens,
    },
  };
}

/** Seconds of what a GPU receives for one micro-batch. */
function trafficOf(
  shape: ModelShape,
  layout: Layout,
  { hardware, teacher }: Omit<TrainingOn, 'utilisation'>,
): number {
  const { shard, context, gpus } = layout;
  const replicas = gpus / shard;
  const trained = trainedParameters(shape);
  const foreign = (size: number): number => (size - 1) / size;
  // Weights in bf16, gathered forward and again backward; gradients in float32, scattered once.
  const sharded = (2 * 2 * heldParameters(shape, teacher) + 4 * trained) * foreign(shard);
  const copied = 2 * ((4 * trained) / shard) * foreign(replicas);
  const seconds = sharded / linkOf(hardware, shard) + copied / linkOf(hardware, gpus);
  return seconds + contextBytes(shape, layout, teacher) / linkOf(hardware, context);
}

/** Keys and values of a whole row: the student's gathered, gathered again where recomputed, and reduced; the teacher's gathered. */
function contextBytes(shape: ModelShape, layout: Layout, teacher: ModelShape | undefined): number {
  const { context, microBatch, sequenceTokens, isRecomputed } = layout;
  const row = microBatch * sequenceTokens * ((context - 1) / context);
  const own = shape.layers.length * kvBytesPerToken(shape, 2) * (isRecomputed ? 3 : 2);
  return row * (own + (teacher === undefined ? 0 : teacher.layers.length * kvBytesPerToken(teacher, 2)));
}

/** Bytes a second that a GPU gets from `group` GPUs in a row: beyond a node they come over its network. */
function linkOf({ linkBandwidth, networkBandwidth, nodeGpus }: Hardware, group: number): number {
  return group <= nodeGpus ? linkBandwidth : networkBandwidth;
}
