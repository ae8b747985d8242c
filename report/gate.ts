import type { EffortResult, Model } from './evidence.ts';
import {
  effortLengthRatio,
  ratio,
  requestsPerSecond,
  shareError,
  standardScore,
  type Estimate,
} from './statistics.ts';

export const gateMetrics = [
  'accuracy',
  'mean_tokens',
  'cap_hit_rate',
  'final_rate',
  'retention',
  'effort_length_ratio',
  'request_efficiency',
] as const;

export type GateMetric = (typeof gateMetrics)[number];

/** A limit on a figure of one model, or on its ratio to another's when `baseline` is named. */
export interface GateRule {
  metric: GateMetric;
  model: string;
  baseline: string | undefined;
  /** Absent: the mean over efforts. */
  effort: string | undefined;
  /** Absent: the whole suite. */
  task: string | undefined;
  atLeast: number | undefined;
  atMost: number | undefined;
}

export interface Judgement {
  rule: string;
  passed: boolean;
  value: number | null;
  limit: number;
  baseline: string | null;
  standardError: number | null;
  /** By how much the limit is kept (positive) or missed. */
  margin: number | null;
  /** Margin in standard errors. */
  certainty: number | null;
  note: string;
}

/** Judges every rule; a figure that is not there fails its rule, and says what is missing. */
export function judge(
  rules: readonly GateRule[],
  models: readonly Model[],
): { passed: boolean; rules: Judgement[] } {
  const judged = rules.flatMap((rule) => limitsOf(rule).map((limit) => judgeOne(rule, limit, models)));
  return { passed: judged.every((judgement) => judgement.passed), rules: judged };
}

interface Limit {
  sense: 'at_least' | 'at_most';
  value: number;
}

function limitsOf(rule: GateRule): Limit[] {
  const limits: Limit[] = [];
  if (rule.atLeast !== undefined) limits.push({ sense: 'at_least', value: rule.atLeast });
  if (rule.atMost !== undefined) limits.push({ sense: 'at_most', value: rule.atMost });
  return limits;
}

function judgeOne(rule: GateRule, limit: Limit, models: readonly Model[]): Judgement {
  const found = measure(rule, models);
  const named = { rule: nameOf(rule, limit), limit: limit.value, baseline: rule.baseline ?? null };
  if (typeof found === 'string') {
    return {
      ...named,
      passed: false,
      value: null,
      standardError: null,
      margin: null,
      certainty: null,
      note: found,
    };
  }
  const sign = limit.sense === 'at_least' ? 1 : -1;
  const margin = sign * (found.value - limit.value);
  const score = standardScore(found, limit.value);
  const certainty = score === null ? null : sign * score;
  return {
    ...named,
    passed: margin >= 0,
    value: found.value,
    standardError: found.standardError,
    margin,
    certainty,
    note: noteOf(margin, certainty),
  };
}

/** Two standard errors are the line between a finding and noise. */
function noteOf(margin: number, certainty: number | null): string {
  const side = margin >= 0 ? 'kept' : 'missed';
  if (certainty === null) return `${side}; its noise is unknown`;
  const sure = Math.abs(certainty) >= 2 ? 'beyond noise' : 'within noise';
  return `${side} by ${Math.abs(margin).toPrecision(3)}, ${Math.abs(certainty).toFixed(1)} standard errors: ${sure}`;
}

function nameOf(rule: GateRule, limit: Limit): string {
  const where = [rule.task, rule.effort].filter((part) => part !== undefined).join(', ');
  const against = rule.baseline === undefined ? '' : ` / ${rule.baseline}`;
  const sense = limit.sense === 'at_least' ? 'at least' : 'at most';
  return `${rule.metric} of ${rule.model}${against}${where === '' ? '' : ` (${where})`} ${sense} ${limit.value}`;
}

/** The figure, or what is missing for it. */
function measure(rule: GateRule, models: readonly Model[]): Estimate | string {
  const own = measureModel(rule, rule.model, models);
  if (typeof own === 'string') return own;
  if (rule.baseline === undefined) {
    return rule.metric === 'retention' ? 'retention needs a baseline' : own;
  }
  const reference = measureModel(rule, rule.baseline, models);
  if (typeof reference === 'string') return reference;
  return ratio(own, reference) ?? `${rule.baseline} has ${rule.metric} 0, so there is no ratio`;
}

function measureModel(rule: GateRule, name: string, models: readonly Model[]): Estimate | string {
  const model = models.find((candidate) => candidate.name === name);
  if (model === undefined) return `no results of ${name}`;
  if (rule.metric === 'effort_length_ratio') {
    const value = effortLengthRatio(model);
    return value === undefined
      ? `${name} was not evaluated at low and high effort`
      : { value, standardError: null };
  }
  const results = resultsFor(rule, model);
  if (results.length === 0)
    return `${name} has no results for ${rule.task ?? 'the suite'} at ${rule.effort ?? 'any'} effort`;
  const estimates: Estimate[] = [];
  for (const result of results) {
    const estimate = figureOf(rule.metric, model, result);
    if (estimate === undefined) return `no timings of ${name}`;
    estimates.push(estimate);
  }
  return meanOf(estimates);
}

function resultsFor(rule: GateRule, model: Model): EffortResult[] {
  const results =
    rule.task === undefined ? model.suite : model.tasks.filter((result) => result.task === rule.task);
  return results.filter((result) => rule.effort === undefined || result.effort === rule.effort);
}

function figureOf(
  metric: Exclude<GateMetric, 'effort_length_ratio'>,
  model: Model,
  result: EffortResult,
): Estimate | undefined {
  switch (metric) {
    case 'accuracy':
    case 'retention':
      return { value: result.accuracy, standardError: result.standardError };
    case 'mean_tokens':
      return { value: result.meanTokens, standardError: null };
    case 'cap_hit_rate':
      return { value: result.capHitRate, standardError: shareError(result.capHitRate, result.examples) };
    case 'final_rate':
      return { value: result.finalRate, standardError: shareError(result.finalRate, result.examples) };
    case 'request_efficiency': {
      const value = requestsPerSecond(model, result);
      return value === undefined ? undefined : { value, standardError: null };
    }
  }
}

function meanOf(estimates: readonly Estimate[]): Estimate {
  const value = estimates.reduce((sum, estimate) => sum + estimate.value, 0) / estimates.length;
  let squares = 0;
  for (const { standardError } of estimates) {
    if (standardError === null) return { value, standardError: null };
    squares += standardError ** 2;
  }
  return { value, standardError: Math.sqrt(squares) / estimates.length };
}
