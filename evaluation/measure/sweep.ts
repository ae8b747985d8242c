import type { LoopResult } from './closed-loop.ts';

/** One server: GPUs of a replica, and how many replicas it runs. */
export interface Parallelism {
  tensorParallel: number;
  replicas: number;
}

/** All runs at one concurrency of one server. */
export interface SweepPoint extends Parallelism {
  concurrency: number;
  runs: LoopResult[];
  tokensPerSecond: Spread;
  itlP99Ms: number;
  ttftP99Ms: number;
  /** Every run kept the bounds. */
  isWithinBounds: boolean;
}

/** Mean over repeats with its standard error and a 95 % interval (Student's t); null from one repeat, which tells nothing of its noise. */
export interface Spread {
  mean: number;
  standardError: number | null;
  interval: [number, number] | null;
}

export interface LatencyBounds {
  itlP99Ms: number | undefined;
  ttftP99Ms: number | undefined;
}

export function summarisePoint(
  runs: LoopResult[],
  { tensorParallel, replicas }: Parallelism,
  bounds: LatencyBounds,
): SweepPoint {
  const itlP99Ms = Math.max(...runs.map(({ itlMs }) => itlMs.p99));
  const ttftP99Ms = Math.max(...runs.map(({ ttftMs }) => ttftMs.p99));
  return {
    tensorParallel,
    replicas,
    concurrency: runs[0]?.concurrency ?? 0,
    runs,
    tokensPerSecond: spreadOf(runs.map(({ tokensPerSecond }) => tokensPerSecond)),
    itlP99Ms,
    ttftP99Ms,
    isWithinBounds: itlP99Ms <= (bounds.itlP99Ms ?? Infinity) && ttftP99Ms <= (bounds.ttftP99Ms ?? Infinity),
  };
}

/** The fastest point whose latencies are within bounds; undefined when none is. All use the same GPUs, so tokens a second compare. */
export function bestPoint(points: readonly SweepPoint[]): SweepPoint | undefined {
  return points
    .filter(({ isWithinBounds }) => isWithinBounds)
    .reduce<SweepPoint | undefined>(
      (best, point) =>
        best === undefined || point.tokensPerSecond.mean > best.tokensPerSecond.mean ? point : best,
      undefined,
    );
}

/** Student's t at 97.5 %, by degrees of freedom from 1; beyond the table the normal's. */
const studentT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];

export function spreadOf(values: readonly number[]): Spread {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n < 2) return { mean, standardError: null, interval: null };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const standardError = Math.sqrt(variance / n);
  const half = (studentT[n - 2] ?? 1.96) * standardError;
  return { mean, standardError, interval: [mean - half, mean + half] };
}
