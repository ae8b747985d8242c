/** One finished answer, as far as statistics need it. */
export interface Outcome {
  id: string;
  task: string;
  effort: string;
  sample: number;
  isCorrect: boolean;
  /** What the scorer took for the answer, for majorities. */
  extracted: string | null;
  votes: { agreeing: number; votes: number } | null;
  isCapped: boolean;
  hasFinal: boolean;
  /** There is no answer at all, or none that could be scored; it counts as wrong. */
  isError: boolean;
  /** Tokens that the model wrote, channel names and the closing token included. */
  tokens: number;
}

/** `accuracy` and the shares are between 0 and 1; `standardError` is that of the accuracy. */
export interface Summary {
  /** Questions. */
  examples: number;
  /** Answers to each. */
  samples: number;
  /** The mean over samples and questions: avg@k. */
  accuracy: number;
  standardError: number;
  /** Wilson's 95 % interval with one sample a question; mean +- 1.96 standard errors with more. */
  interval: readonly [number, number];
  /** Share of questions whose most frequent extracted answer is right: maj@k. Null where answers cannot be compared. */
  majority: number | null;
  meanTokens: number;
  /** Tokens of an answer at 10, 50, 90 and 99 % of all. */
  tokenQuantiles: Quantiles;
  capHitRate: number;
  /** Share of answers with a final channel. */
  finalRate: number;
  errors: number;
  /** Share of judges' votes against the majority; null without judges. */
  disagreement: number | null;
}

export interface Quantiles {
  p10: number;
  p50: number;
  p90: number;
  p99: number;
}

/** Answers to one question are not independent: the standard error is that of the questions' means. */
export function summarise(outcomes: readonly Outcome[]): Summary {
  const n = outcomes.length;
  if (n === 0) throw new Error('bug: a summary of no outcomes');
  const share = (is: (outcome: Outcome) => boolean): number => outcomes.filter(is).length / n;
  const accuracy = share((outcome) => outcome.isCorrect);
  const questions = groupBy(outcomes, ({ id }) => id);
  const means = [...questions.values()].map((all) => mean(all.map(({ isCorrect }) => Number(isCorrect))));
  const isSingle = questions.size === n;
  const standardError = isSingle ? Math.sqrt((accuracy * (1 - accuracy)) / n) : errorOfMean(means);
  return {
    examples: questions.size,
    samples: n / questions.size,
    accuracy,
    standardError,
    interval: isSingle
      ? wilson(accuracy, n)
      : [accuracy - 1.96 * standardError, accuracy + 1.96 * standardError],
    majority: majorityOf([...questions.values()]),
    meanTokens: mean(outcomes.map(({ tokens }) => tokens)),
    tokenQuantiles: quantiles(outcomes.map(({ tokens }) => tokens)),
    capHitRate: share((outcome) => outcome.isCapped),
    finalRate: share((outcome) => outcome.hasFinal),
    errors: outcomes.filter((outcome) => outcome.isError).length,
    disagreement: disagreementOf(outcomes),
  };
}

/** The mean over tasks, each weighing the same; standard errors of independent means add in squares. */
export function average(summaries: readonly Summary[], outcomes: readonly Outcome[]): Summary {
  const n = summaries.length;
  if (n === 0) throw new Error('bug: an average of no summaries');
  const over = (value: (summary: Summary) => number): number => mean(summaries.map(value));
  const accuracy = over((summary) => summary.accuracy);
  const standardError =
    Math.sqrt(summaries.reduce((sum, summary) => sum + summary.standardError ** 2, 0)) / n;
  const majorities = summaries.flatMap(({ majority }) => majority ?? []);
  return {
    examples: summaries.reduce((sum, summary) => sum + summary.examples, 0),
    samples: over((summary) => summary.samples),
    accuracy,
    standardError,
    interval: [Math.max(0, accuracy - 1.96 * standardError), Math.min(1, accuracy + 1.96 * standardError)],
    majority: majorities.length === n ? mean(majorities) : null,
    meanTokens: over((summary) => summary.meanTokens),
    tokenQuantiles: quantiles(outcomes.map(({ tokens }) => tokens)),
    capHitRate: over((summary) => summary.capHitRate),
    finalRate: over((summary) => summary.finalRate),
    errors: summaries.reduce((sum, summary) => sum + summary.errors, 0),
    disagreement: disagreementOf(outcomes),
  };
}

/** Wilson's score interval at 95 %: unlike p +- 1.96 se it is right near 0 and 1. */
export function wilson(share: number, count: number): [number, number] {
  const z = 1.959964;
  const middle = (share + z ** 2 / (2 * count)) / (1 + z ** 2 / count);
  const half =
    (z / (1 + z ** 2 / count)) * Math.sqrt((share * (1 - share)) / count + z ** 2 / (4 * count ** 2));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

/** Linear interpolation between order statistics (type 7 of Hyndman and Fan 1996). */
export function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(at)] ?? NaN, sorted[Math.ceil(at)] ?? NaN];
  return low + (high - low) * (at - Math.floor(at));
}

export function quantiles(values: readonly number[]): Quantiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => quantile(sorted, share);
  return { p10: at(0.1), p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

function majorityOf(questions: readonly (readonly Outcome[])[]): number | null {
  if (questions.every((all) => all.every(({ extracted }) => extracted === null))) return null;
  return mean(questions.map((all) => Number(isMajorityCorrect(all))));
}

/** Of equally frequent answers the one that came first counts. */
function isMajorityCorrect(all: readonly Outcome[]): boolean {
  const said = all.filter(({ extracted }) => extracted !== null);
  const groups = [...groupBy(said, ({ extracted }) => extracted).values()];
  const most = groups.reduce<Outcome[]>((best, group) => (group.length > best.length ? group : best), []);
  return most[0]?.isCorrect === true;
}

function disagreementOf(outcomes: readonly Outcome[]): number | null {
  const voted = outcomes.flatMap(({ votes }) => votes ?? []);
  const total = voted.reduce((sum, { votes }) => sum + votes, 0);
  if (total === 0) return null;
  return voted.reduce((sum, { votes, agreeing }) => sum + votes - agreeing, 0) / total;
}

function errorOfMean(values: readonly number[]): number {
  const middle = mean(values);
  const variance =
    values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / Math.max(1, values.length - 1);
  return Math.sqrt(variance / values.length);
}

function groupBy<K>(outcomes: readonly Outcome[], keyOf: (outcome: Outcome) => K): Map<K, Outcome[]> {
  const groups = new Map<K, Outcome[]>();
  for (const outcome of outcomes) {
    const group = groups.get(keyOf(outcome)) ?? [];
    groups.set(keyOf(outcome), group);
    group.push(outcome);
  }
  return groups;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
