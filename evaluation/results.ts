import { toOutcome, type AnswerRecord } from './answer-record.ts';
import type { EvaluateSettings } from './settings.ts';
import { average, summarise, type Outcome, type Summary } from './statistics.ts';

/** What was evaluated, for results.json: digests only, so that equal work gives equal bytes. */
export interface ResultsOf {
  model: string;
  tasks: string;
  settings: EvaluateSettings;
}

/** results.json: no times, hosts or paths. `suite` is the mean over tasks, each weighing the same. */
export function resultsDocument(records: readonly AnswerRecord[], of: ResultsOf): object {
  const outcomes = records.map(toOutcome);
  const { efforts, maxNewTokens, decoding } = of.settings;
  const tasks = [...new Set(outcomes.map((outcome) => outcome.task))].sort();
  const cells = tasks.flatMap((task) =>
    efforts.map((effort) => ({ task, effort, summary: cell(outcomes, task, effort) })),
  );
  return {
    schema: 'fretsaw/results/v1',
    model: { digest: of.model },
    data: { digest: of.tasks },
    decoding,
    max_new_tokens: Object.fromEntries(maxNewTokens),
    tasks: cells.map(({ task, effort, summary }) => ({
      task,
      effort,
      examples: summary.examples,
      ...figures(summary),
    })),
    suite: efforts.map((effort) => {
      const own = cells.filter((each) => each.effort === effort).map((each) => each.summary);
      return { effort, ...figures(average(own)) };
    }),
  };
}

function cell(outcomes: readonly Outcome[], task: string, effort: string): Summary {
  return summarise(outcomes.filter((outcome) => outcome.task === task && outcome.effort === effort));
}

function figures(summary: Summary): Record<string, number> {
  return {
    accuracy: summary.accuracy,
    standard_error: summary.standardError,
    mean_tokens: summary.meanTokens,
    cap_hit_rate: summary.capHitRate,
    final_rate: summary.finalRate,
    errors: summary.errors,
  };
}

/** timings.json: over all attempts, prompts and waiting included; threads and batch are the last attempt's. */
export interface Timings {
  schema: 'fretsaw/timings/v1';
  runner: string;
  threads: number;
  batch_size: number;
  tokens: number;
  seconds: number;
  tokens_per_second: number;
  /** How a server was shown to serve the model; null in process. */
  served: object | null;
}
