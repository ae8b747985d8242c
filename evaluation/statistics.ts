/** One finished answer, as far as statistics need it. */
export interface Outcome {
  task: string;
  effort: string;
  isCorrect: boolean;
  isCapped: boolean;
  hasFinal: boolean;
  /** There is no answer at all; it counts as wrong. */
  isError: boolean;
  /** Tokens that the model wrote, channel names and the closing token included. */
  tokens: number;
}

/** `accuracy` and the shares are between 0 and 1; `standardError` is that of the accuracy. */
export interface Summary {
  examples: number;
  accuracy: number;
  standardError: number;
  meanTokens: number;
  capHitRate: number;
  finalRate: number;
  errors: number;
}

/** Binomial standard error: sqrt(p (1 - p) / n). */
export function summarise(outcomes: readonly Outcome[]): Summary {
  const n = outcomes.length;
  if (n === 0) throw new Error('bug: a summary of no outcomes');
  const share = (is: (outcome: Outcome) => boolean): number => outcomes.filter(is).length / n;
  const accuracy = share((outcome) => outcome.isCorrect);
  return {
    examples: n,
    accuracy,
    standardError: Math.sqrt((accuracy * (1 - accuracy)) / n),
    meanTokens: outcomes.reduce((sum, outcome) => sum + outcome.tokens, 0) / n,
    capHitRate: share((outcome) => outcome.isCapped),
    finalRate: share((outcome) => outcome.hasFinal),
    errors: outcomes.filter((outcome) => outcome.isError).length,
  };
}

/** The mean over tasks, each weighing the same; standard errors of independent means add in squares. */
export function average(summaries: readonly Summary[]): Summary {
  const n = summaries.length;
  if (n === 0) throw new Error('bug: an average of no summaries');
  const mean = (value: (summary: Summary) => number): number =>
    summaries.reduce((sum, summary) => sum + value(summary), 0) / n;
  return {
    examples: summaries.reduce((sum, summary) => sum + summary.examples, 0),
    accuracy: mean((summary) => summary.accuracy),
    standardError: Math.sqrt(summaries.reduce((sum, summary) => sum + summary.standardError ** 2, 0)) / n,
    meanTokens: mean((summary) => summary.meanTokens),
    capHitRate: mean((summary) => summary.capHitRate),
    finalRate: mean((summary) => summary.finalRate),
    errors: summaries.reduce((sum, summary) => sum + summary.errors, 0),
  };
}
