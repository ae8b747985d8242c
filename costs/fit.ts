import type { ModelShape } from './config.ts';
import { idealEngine, predictionBand, type Band, type EngineModel } from './engine-model.ts';
import { minimise } from './minimise.ts';
import { bestThroughput, maximumBatch, throughputAt, type Serving, type Throughput } from './roofline.ts';

/** A throughput that somebody measured; measured-points.ts reads them from a CSV file and lists its columns. */
export interface MeasuredPoint {
  name: string;
  model: ModelShape;
  serving: Omit<Serving, 'engine'>;
  /** Requests sent at once to one replica; undefined is as many as give most. */
  concurrency?: number | undefined;
  /** Generated tokens a second, all replicas together. */
  tokensPerSecond: number;
  /** How far the true figure may be from it, as a share: half a unit of the last digit given, at least. */
  uncertainty: number;
  /** The same measured on another model, when their ratio is known better than either. */
  over?: { model: ModelShape; serving: Omit<Serving, 'engine'>; ratio: number; uncertainty: number };
}

export interface EngineFit {
  engine: EngineModel;
  /** Predicted over measured, by point; `heldOut` by the fit to all other points, null where that is none. */
  ratios: { name: string; ratio: number; heldOut: number | null }[];
  /** Of held-out points once there are two; before that the published points' own. */
  band: Band;
}

/** Fits to all points, and to all but each, so that the band comes from points that were not fitted. */
export function fitEngine(points: readonly MeasuredPoint[]): EngineFit {
  const engine = engineNearest(points);
  const ratios = points.map((point) => {
    const others = points.filter((other) => other !== point);
    return {
      name: point.name,
      ratio: ratioOf(point, engine),
      heldOut: others.length === 0 ? null : ratioOf(point, engineNearest(others)),
    };
  });
  return { engine, ratios, band: bandOf(ratios.map(({ heldOut }) => heldOut)) };
}

/**
 * Four unknowns: the shares of bandwidth that weights and FP8 keys and values reach, the share of
 * FLOP/s, and memory held back. Bf16 keys and values are taken to stream at peak: left free, or tied to
 * the weights, they predict held-out points worse (worst 40 % instead of 29 %). Least squares
 * of log(predicted / measured), each over its uncertainty, with a weak pull to the middle of what is plausible,
 * so that two points do not drive an unknown that they say nothing of to its limit.
 */
export function engineNearest(points: readonly MeasuredPoint[]): EngineModel {
  const cost = (unknowns: readonly number[]): number => {
    const engine = engineOf(unknowns);
    const misfit = points.reduce((sum, point) => sum + misfitOf(point, engine), 0);
    return misfit + unknowns.reduce((sum, value) => sum + value ** 2, 0);
  };
  const { point: unknowns } = minimise(cost, [0, 0, 0, 0], { step: 0.5, steps: 160 });
  return engineOf(unknowns);
}

/** What the model says of a point: at its concurrency or what fits of it, or at the best batch. */
export function predicted(
  point: Pick<MeasuredPoint, 'model' | 'serving' | 'concurrency'>,
  engine: EngineModel,
): Throughput | undefined {
  const serving = { ...point.serving, engine };
  if (point.concurrency === undefined) return bestThroughput(point.model, serving);
  const batch = Math.min(point.concurrency, maximumBatch(point.model, serving));
  return batch < 1 ? undefined : throughputAt(point.model, { serving, batch });
}

function ratioOf(point: MeasuredPoint, engine: EngineModel): number {
  return (predicted(point, engine)?.tokensPerSecond ?? NaN) / point.tokensPerSecond;
}

/** As shares of the measured figure: a prediction of half and one of twice are equally far off. */
function bandOf(heldOut: readonly (number | null)[]): Band {
  const errors = heldOut.flatMap((ratio) =>
    ratio === null || Number.isNaN(ratio) ? [] : [Math.exp(Math.abs(Math.log(ratio))) - 1],
  );
  if (errors.length < 2) return predictionBand;
  return { mean: errors.reduce((sum, error) => sum + error, 0) / errors.length, worst: Math.max(...errors) };
}

function misfitOf(point: MeasuredPoint, engine: EngineModel): number {
  const speed = predicted(point, engine)?.tokensPerSecond;
  const own = deviation(speed, point.tokensPerSecond, point.uncertainty);
  if (point.over === undefined) return own;
  const other = bestThroughput(point.over.model, { ...point.over.serving, engine })?.tokensPerSecond;
  const ratio = speed === undefined || other === undefined ? undefined : speed / other;
  return own + deviation(ratio, point.over.ratio, point.over.uncertainty);
}

/** Squared, in units of its uncertainty; no model of this kind is good to better than 3 %. */
function deviation(predicted: number | undefined, measured: number, uncertainty: number): number {
  // Nothing fits the server: as wrong as a factor of a hundred.
  const error = Math.log(predicted === undefined ? 100 : predicted / measured);
  return (error / Math.max(0.03, uncertainty)) ** 2;
}

/** Plausible ranges: a GPU's memory reaches half to nearly all of its peak, matrix products of decoding much less. */
const ranges = {
  weightEfficiency: [0.6, 1],
  kvEfficiency: [0.25, 0.9],
  flopEfficiency: [0.05, 0.4],
  reservedBytes: [2 * 2 ** 30, 9.5 * 2 ** 30],
} as const;

function engineOf([weights = 0, kv = 0, flops = 0, reserved = 0]: readonly number[]): EngineModel {
  const weightEfficiency = within(ranges.weightEfficiency, weights);
  return {
    ...idealEngine,
    weightEfficiency,
    kvEfficiency: { 1: within(ranges.kvEfficiency, kv), 2: 1 },
    flopEfficiency: within(ranges.flopEfficiency, flops),
    reservedBytes: within(ranges.reservedBytes, reserved),
  };
}

/** The logistic function: any number becomes one inside the range, 0 its middle. */
function within([least, most]: readonly [number, number], value: number): number {
  return least + (most - least) / (1 + Math.exp(-value));
}
