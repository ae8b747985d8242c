import type { ModelShape } from './config.ts';
import { idealEngine, type EngineModel } from './engine-model.ts';
import { minimise } from './minimise.ts';
import { bestThroughput, type Serving } from './roofline.ts';

/** A throughput that somebody measured. */
export interface MeasuredPoint {
  name: string;
  model: ModelShape;
  serving: Omit<Serving, 'engine'>;
  tokensPerSecond: number;
  /** How far the true figure may be from it, as a share: half a unit of the last digit given, at least. */
  uncertainty: number;
  /** The same measured on another model, when their ratio is known better than either. */
  over?: { model: ModelShape; serving: Omit<Serving, 'engine'>; ratio: number; uncertainty: number };
}

export interface EngineFit {
  engine: EngineModel;
  /** Predicted over measured, by point. */
  ratios: { name: string; ratio: number }[];
}

/**
 * Four unknowns: the shares of bandwidth that weights and FP8 keys and values reach, the share of
 * FLOP/s, and memory held back. Bf16 keys and values are taken to stream at peak: left free, or tied to
 * the weights, they predict held-out points worse (worst 40 % instead of 29 %). Least squares
 * of log(predicted / measured), each over its uncertainty, with a weak pull to the middle of what is plausible,
 * so that two points do not drive an unknown that they say nothing of to its limit.
 */
export function fitEngine(points: readonly MeasuredPoint[]): EngineFit {
  const cost = (unknowns: readonly number[]): number => {
    const engine = engineOf(unknowns);
    const misfit = points.reduce((sum, point) => sum + misfitOf(point, engine), 0);
    return misfit + unknowns.reduce((sum, value) => sum + value ** 2, 0);
  };
  const { point: unknowns } = minimise(cost, [0, 0, 0, 0], { step: 0.5, steps: 160 });
  const engine = engineOf(unknowns);
  return {
    engine,
    ratios: points.map((point) => ({
      name: point.name,
      ratio:
        (bestThroughput(point.model, { ...point.serving, engine })?.tokensPerSecond ?? NaN) /
        point.tokensPerSecond,
    })),
  };
}

function misfitOf(point: MeasuredPoint, engine: EngineModel): number {
  const speed = bestThroughput(point.model, { ...point.serving, engine })?.tokensPerSecond;
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
