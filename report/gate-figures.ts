import type { GateMetric } from '../kinds/gate.ts';
import type { Draw, Measure } from './bootstrap.ts';
import { effortsOf, type EffortResult, type Model } from './evidence.ts';
import { shareError, type Estimate } from './statistics.ts';

/** Which figure: at one effort or the mean over efforts, of one task or the whole suite. */
export interface FigureOf {
  metric: GateMetric;
  effort: string | undefined;
  task: string | undefined;
}

/** Where means come from: the results themselves, or one resample of the answers. */
export interface Means {
  efforts: readonly string[];
  mean(measure: Measure, effort: string, task: string | undefined): number | undefined;
  tokensPerSecond: number | undefined;
}

const measureOf: Readonly<Record<Exclude<GateMetric, 'effort_length_ratio'>, Measure>> = {
  accuracy: 'accuracy',
  retention: 'accuracy',
  mean_tokens: 'tokens',
  cap_hit_rate: 'capped',
  final_rate: 'final',
  request_efficiency: 'tokens',
};

/** The figure by one formula for results and resamples alike; undefined where something is missing for it. */
export function figureOf({ metric, effort, task }: FigureOf, means: Means): number | undefined {
  if (metric === 'effort_length_ratio') {
    const [low, high] = [means.mean('tokens', 'low', task), means.mean('tokens', 'high', task)];
    return low === undefined || high === undefined || low === 0 ? undefined : high / low;
  }
  // The mean over efforts is over those that the task was asked at.
  const efforts = means.efforts.filter((each) => effort === undefined || each === effort);
  const found = efforts.flatMap((each) => means.mean(measureOf[metric], each, task) ?? []);
  const values = metric === 'request_efficiency' ? found.map((tokens) => speedAt(tokens, means)) : found;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Number.isNaN(mean) ? undefined : mean;
}

/** Requests a second; NaN where nothing was timed. */
function speedAt(tokens: number, { tokensPerSecond }: Means): number {
  return tokensPerSecond === undefined || tokens === 0 ? NaN : tokensPerSecond / tokens;
}

export function resultMeans(model: Model): Means {
  return {
    efforts: effortsOf([model]),
    mean: (measure, effort, task) => {
      const result = resultAt(model, effort, task);
      return result === undefined ? undefined : valueOf(result, measure);
    },
    tokensPerSecond: model.timing?.tokensPerSecond,
  };
}

/** Speed is measured apart from the answers: its noise is drawn from its standard error, once for models that share a measurement. */
export function drawnMeans(model: Model, side: 'own' | 'baseline', draw: Draw): Means {
  const { timing } = model;
  const noise = timing?.standardError == null ? 0 : timing.standardError * draw.normal(timing.measuredOn);
  return {
    efforts: effortsOf([model]),
    mean: (measure, effort, task) => draw.mean(side, { measure, effort, task }),
    tokensPerSecond: timing === undefined ? undefined : timing.tokensPerSecond + noise,
  };
}

/** The noise of a figure where its answers are not there to be drawn again; null where nothing is known of it. */
export function plainError({ metric, effort, task }: FigureOf, model: Model): number | null {
  const efforts = effort === undefined ? effortsOf([model]) : [effort];
  const results = efforts.flatMap((each) => resultAt(model, each, task) ?? []);
  let squares = 0;
  for (const result of results) {
    const error = errorOf(metric, result);
    if (error === null) return null;
    squares += error ** 2;
  }
  return results.length === 0 ? null : Math.sqrt(squares) / results.length;
}

export function withError(of: FigureOf, model: Model): Estimate | undefined {
  const value = figureOf(of, resultMeans(model));
  return value === undefined ? undefined : { value, standardError: plainError(of, model) };
}

function errorOf(metric: GateMetric, result: EffortResult): number | null {
  switch (metric) {
    case 'accuracy':
    case 'retention':
      return result.standardError;
    case 'cap_hit_rate':
      return shareError(result.capHitRate, result.examples);
    case 'final_rate':
      return shareError(result.finalRate, result.examples);
    case 'mean_tokens':
    case 'effort_length_ratio':
    case 'request_efficiency':
      return null;
  }
}

function resultAt(model: Model, effort: string, task: string | undefined): EffortResult | undefined {
  return task === undefined
    ? model.suite.find((result) => result.effort === effort)
    : model.tasks.find((result) => result.task === task && result.effort === effort);
}

function valueOf(result: EffortResult, measure: Measure): number {
  switch (measure) {
    case 'accuracy':
      return result.accuracy;
    case 'tokens':
      return result.meanTokens;
    case 'capped':
      return result.capHitRate;
    case 'final':
      return result.finalRate;
  }
}
