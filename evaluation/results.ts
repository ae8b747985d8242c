import { createHash } from 'node:crypto';
import { toOutcome, type AnswerRecord } from './answer-record.ts';
import { scorerVersions } from './scorers/scorer.ts';
import type { EvaluateSettings } from './settings.ts';
import { average, summarise, type Outcome, type Summary } from './statistics.ts';
import type { TaskExample } from './task-examples.ts';

/** What was evaluated, for results.json: digests only, so that equal work gives equal bytes. */
export interface ResultsOf {
  model: string;
  tasks: string;
  /** All questions of the data set. */
  examples: readonly TaskExample[];
  settings: EvaluateSettings;
}

/** results.json: no times, hosts or paths. `suite` is the mean over tasks, each weighing the same. */
export function resultsDocument(records: readonly AnswerRecord[], of: ResultsOf): object {
  const outcomes = records.map(toOutcome);
  const { efforts, maxNewTokens, decoding } = of.settings;
  const tasks = [...new Set(outcomes.map((outcome) => outcome.task))].sort();
  const cells = tasks.flatMap((task) =>
    effortsOf(outcomes, task, efforts).map((effort) => ({
      task,
      effort,
      summary: cell(outcomes, task, effort),
    })),
  );
  return {
    schema: 'fretsaw/results/v3',
    model: { digest: of.model },
    data: { digest: of.tasks },
    runner: of.settings.runner,
    decoding,
    max_new_tokens: Object.fromEntries(maxNewTokens),
    tasks: cells.map(({ task, effort, summary }) => ({
      task,
      effort,
      examples: summary.examples,
      ...conditions(of, task, effort),
      ...figures(summary),
    })),
    suite: effortsOf(outcomes, undefined, efforts).map((effort) => {
      const own = cells.filter((each) => each.effort === effort).map((each) => each.summary);
      const all = outcomes.filter((outcome) => outcome.effort === effort);
      return { effort, ...figures(average(own, all)) };
    }),
  };
}

function cell(outcomes: readonly Outcome[], task: string, effort: string): Summary {
  return summarise(outcomes.filter((outcome) => outcome.task === task && outcome.effort === effort));
}

/** Under what a task was answered: two results compare only when all of these are equal. */
function conditions({ examples, settings }: ResultsOf, task: string, effort: string): object {
  const own = examples.filter((example) => example.task === task);
  const kinds = [...new Set(own.map(({ scorer }) => scorer.kind))].sort();
  const caps = own.map(({ maxNewTokens }) => maxNewTokens ?? settings.maxNewTokens.get(effort) ?? 0);
  return {
    version: Math.max(...own.map(({ version }) => version)),
    questions: questionsDigest(own),
    scorers: Object.fromEntries(kinds.map((kind) => [kind, scorerVersions[kind]])),
    max_new_tokens: Math.max(...caps),
  };
}

/** sha256 of what is asked and how it is judged, in the order of ids. */
function questionsDigest(examples: readonly TaskExample[]): string {
  const sorted = [...examples].sort((a, b) => (a.id < b.id ? -1 : 1));
  const hash = createHash('sha256');
  for (const { id, messages, answer, scorer } of sorted)
    hash.update(`${JSON.stringify([id, messages, answer, scorer])}\n`);
  return `sha256:${hash.digest('hex')}`;
}

/** The evaluation's efforts and what tasks added, in which there are answers. */
function effortsOf(
  outcomes: readonly Outcome[],
  task: string | undefined,
  efforts: readonly string[],
): string[] {
  const own = outcomes.filter((outcome) => task === undefined || outcome.task === task);
  const found = new Set(own.map((outcome) => outcome.effort));
  return [...new Set([...efforts, ...[...found].sort()])].filter((effort) => found.has(effort));
}

function figures(summary: Summary): Record<string, unknown> {
  return {
    samples: summary.samples,
    accuracy: summary.accuracy,
    standard_error: summary.standardError,
    interval: summary.interval,
    majority: summary.majority,
    mean_tokens: summary.meanTokens,
    token_quantiles: { ...summary.tokenQuantiles },
    cap_hit_rate: summary.capHitRate,
    final_rate: summary.finalRate,
    empty_final_rate: 1 - summary.finalRate,
    errors: summary.errors,
    judge_disagreement: summary.disagreement,
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
