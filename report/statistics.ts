import type { Answer, EffortResult, Model, PairedDifference } from './evidence.ts';
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

/**
 * The difference question by question, which leaves out what both found hard alike. Mean over tasks,
 * each weighing the same; the standard error of each task's mean is sqrt(sum (d - mean)^2 / (n - 1) / n),
 * and independent ones add in squares.
 */
export function pairedDifferences(
  left: readonly Answer[],
  right: readonly Answer[],
): Record<string, PairedDifference> {
  const other = new Map(right.map((answer) => [keyOf(answer), answer.isCorrect]));
  const byCell = new Map<string, Map<string, number[]>>();
  for (const answer of left) {
    const theirs = other.get(keyOf(answer));
    if (theirs === undefined) continue;
    const tasks = byCell.get(answer.effort) ?? new Map<string, number[]>();
    byCell.set(answer.effort, tasks);
    const differences = tasks.get(answer.task) ?? [];
    tasks.set(answer.task, differences);
    differences.push(Number(answer.isCorrect) - Number(theirs));
  }
  return Object.fromEntries(
    [...byCell].map(([effort, tasks]) => [effort, meanOverTasks([...tasks.values()])]),
  );
}

function meanOverTasks(tasks: readonly (readonly number[])[]): PairedDifference {
  let value = 0;
  let squares = 0;
  for (const differences of tasks) {
    const count = differences.length;
    const mean = differences.reduce((sum, difference) => sum + difference, 0) / count;
    const variance =
      differences.reduce((sum, difference) => sum + (difference - mean) ** 2, 0) / Math.max(1, count - 1);
    value += mean / tasks.length;
    squares += variance / count;
  }
  const examples = tasks.reduce((sum, differences) => sum + differences.length, 0);
  return { value, standardError: Math.sqrt(squares) / tasks.length, examples };
}

function keyOf(answer: Answer): string {
  return JSON.stringify([answer.task, answer.effort, answer.id]);
}

/** How many standard errors `value` is from `limit`; null without a standard error. */
export function standardScore(estimate: Estimate, limit: number): number | null {
  if (estimate.standardError === null || estimate.standardError === 0) return null;
  return (estimate.value - limit) / estimate.standardError;
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
  return points.map((point) => ({ ...point, isDominated: points.some((other) => beats(other, point)) }));
}
