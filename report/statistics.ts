import type { EffortResult, Model } from './evidence.ts';
import { suiteAt } from './evidence.ts';

/** A figure and one standard deviation of it; null where nothing is known of its noise. */
export interface Estimate {
  value: number;
  standardError: number | null;
}

export function accuracyOf(result: EffortResult): Estimate {
  return { value: result.accuracy, standardError: result.standardError };
}

/** a / b; errors taken as independent, which overstates them where both answered the same questions. */
export function ratio(a: Estimate, b: Estimate): Estimate | undefined {
  if (b.value === 0) return undefined;
  const value = a.value / b.value;
  if (a.standardError === null || b.standardError === null) return { value, standardError: null };
  const relative = Math.hypot(a.standardError, value * b.standardError) / Math.abs(b.value);
  return { value, standardError: relative };
}

/** a - b; errors taken as independent, as above. */
export function difference(a: Estimate, b: Estimate): Estimate {
  const value = a.value - b.value;
  if (a.standardError === null || b.standardError === null) return { value, standardError: null };
  return { value, standardError: Math.hypot(a.standardError, b.standardError) };
}

/** Of a share p among n: sqrt(p (1 - p) / n). */
export function shareError(share: number, count: number | undefined): number | null {
  return count === undefined || count === 0 ? null : Math.sqrt((share * (1 - share)) / count);
}

/** Mean tokens at high effort over mean tokens at low: how far effort steers length. */
export function effortLengthRatio(model: Model): number | undefined {
  const low = suiteAt(model, 'low');
  const high = suiteAt(model, 'high');
  if (low === undefined || high === undefined || low.meanTokens === 0) return undefined;
  return high.meanTokens / low.meanTokens;
}

/** Requests a second: tokens a second over mean tokens of an answer. */
export function requestsPerSecond(model: Model, result: EffortResult): number | undefined {
  if (model.timing === undefined || result.meanTokens === 0) return undefined;
  return model.timing.tokensPerSecond / result.meanTokens;
}

export interface FrontierPoint {
  model: Model;
  effort: string;
  /** Requests a second. */
  speed: number;
  accuracy: number;
  /** Some other point is at least as accurate and as fast, and better in one. */
  isDominated: boolean;
  /** The most accurate of those. */
  dominatedBy: { model: Model; effort: string } | undefined;
}

export function frontier(models: readonly Model[]): FrontierPoint[] {
  const points = models.flatMap((model) =>
    model.suite.flatMap((result) => {
      const speed = requestsPerSecond(model, result);
      return speed === undefined ? [] : [{ model, effort: result.effort, speed, accuracy: result.accuracy }];
    }),
  );
  const beats = (a: (typeof points)[number], b: (typeof points)[number]): boolean =>
    a.speed >= b.speed && a.accuracy >= b.accuracy && (a.speed > b.speed || a.accuracy > b.accuracy);
  return points.map((point) => {
    const better = points.filter((other) => beats(other, point));
    const best = better.reduce<(typeof points)[number] | undefined>(
      (found, other) => (found === undefined || other.accuracy > found.accuracy ? other : found),
      undefined,
    );
    const dominatedBy = best === undefined ? undefined : { model: best.model, effort: best.effort };
    return { ...point, isDominated: best !== undefined, dominatedBy };
  });
}
