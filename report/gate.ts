import { bootstrap, type Distribution } from './bootstrap.ts';
import type { Answer, Model } from './evidence.ts';
import { drawnMeans, figureOf, withError, type FigureOf } from './gate-figures.ts';
import { difference, ratio, type Estimate } from './statistics.ts';

/** A limit on a figure of one model, or on its ratio to or difference from another's when `baseline` is named. */
export interface GateRule extends FigureOf {
  model: string;
  baseline: string | undefined;
  /** How it is set against the baseline's. */
  compare: 'ratio' | 'difference';
  /** Judged for each task apart. */
  isEachTask: boolean;
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
  /** 95 %, by the bootstrap over questions; null where answers are not there. */
  interval: readonly [number, number] | null;
  /** By how much the limit is kept (positive) or missed. */
  margin: number | null;
  /** Margin in standard errors. */
  certainty: number | null;
  /** Share of resamples of the questions in which the limit holds. */
  support: number | null;
  note: string;
}

export interface Judged {
  models: readonly Model[];
  /** By model; absent where they were not kept. */
  answers: ReadonlyMap<string, readonly Answer[]>;
}

/** Judges every rule; a figure that is not there fails its rule, and says what is missing. */
export function judge(rules: readonly GateRule[], judged: Judged): { passed: boolean; rules: Judgement[] } {
  const found = rules
    .flatMap((rule) => perTask(rule, judged.models))
    .flatMap((rule) => limitsOf(rule).map((limit) => judgeOne(rule, limit, judged)));
  return { passed: found.every((judgement) => judgement.passed), rules: found };
}

/** One rule for each task that the model was asked. */
function perTask(rule: GateRule, models: readonly Model[]): GateRule[] {
  const model = models.find(({ name }) => name === rule.model);
  if (!rule.isEachTask || model === undefined) return [rule];
  const tasks = [...new Set(model.tasks.map(({ task }) => task))].sort();
  return tasks.length === 0 ? [rule] : tasks.map((task) => ({ ...rule, task }));
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

function judgeOne(rule: GateRule, limit: Limit, judged: Judged): Judgement {
  const named = { rule: nameOf(rule, limit), limit: limit.value, baseline: rule.baseline ?? null };
  const found = estimate(rule, judged.models);
  if (typeof found === 'string') {
    const nothing = { value: null, standardError: null, interval: null, margin: null };
    return { ...named, ...nothing, passed: false, certainty: null, support: null, note: found };
  }
  const drawn = resample(rule, judged);
  const sign = limit.sense === 'at_least' ? 1 : -1;
  const margin = sign * (found.value - limit.value);
  const standardError = drawn?.standardError ?? found.standardError;
  const certainty = standardError === null || standardError === 0 ? null : margin / standardError;
  const support =
    drawn === undefined ? null : shareWhere(drawn, (value) => sign * (value - limit.value) >= 0);
  return {
    ...named,
    passed: margin >= 0,
    value: found.value,
    standardError,
    interval: drawn?.interval ?? null,
    margin,
    certainty,
    support,
    note: noteOf(margin, { certainty, support, drawn }),
  };
}

/** Two standard errors, or one resample in forty, are the line between a finding and noise. */
function noteOf(
  margin: number,
  sure: { certainty: number | null; support: number | null; drawn: Distribution | undefined },
): string {
  const { certainty, support, drawn } = sure;
  const said = `${margin >= 0 ? 'kept' : 'missed'} by ${Math.abs(margin).toPrecision(3)}`;
  if (drawn !== undefined && support !== null) {
    const isFinding = margin >= 0 ? support >= 0.975 : support <= 0.025;
    const [low, high] = drawn.interval.map((value) => Number(value.toPrecision(4)));
    const questions = `${drawn.values.length} resamples of ${drawn.questions} questions`;
    return `${said}; 95 % from ${low ?? ''} to ${high ?? ''}, holds in ${(support * 100).toFixed(1)} % of ${questions}: ${isFinding ? 'beyond' : 'within'} noise`;
  }
  if (certainty === null) return `${said}; its noise is unknown`;
  return `${said}, ${Math.abs(certainty).toFixed(1)} standard errors: ${Math.abs(certainty) >= 2 ? 'beyond' : 'within'} noise`;
}

function nameOf(rule: GateRule, limit: Limit): string {
  const where = [rule.task, rule.effort].filter((part) => part !== undefined).join(', ');
  const sign = rule.compare === 'ratio' ? '/' : '-';
  const against = rule.baseline === undefined ? '' : ` ${sign} ${rule.baseline}`;
  const sense = limit.sense === 'at_least' ? 'at least' : 'at most';
  return `${rule.metric} of ${rule.model}${against}${where === '' ? '' : ` (${where})`} ${sense} ${limit.value}`;
}

/** The figure, or what is missing for it. */
function estimate(rule: GateRule, models: readonly Model[]): Estimate | string {
  const own = estimateModel(rule, rule.model, models);
  if (typeof own === 'string') return own;
  if (rule.baseline === undefined) {
    return rule.metric === 'retention' ? 'retention needs a baseline' : own;
  }
  const reference = estimateModel(rule, rule.baseline, models);
  if (typeof reference === 'string') return reference;
  if (rule.compare === 'difference') return difference(own, reference);
  return ratio(own, reference) ?? `${rule.baseline} has ${rule.metric} 0, so there is no ratio`;
}

function estimateModel(rule: GateRule, name: string, models: readonly Model[]): Estimate | string {
  const model = models.find((candidate) => candidate.name === name);
  if (model === undefined) return `no results of ${name}`;
  const found = withError(rule, model);
  if (found !== undefined) return found;
  if (rule.metric === 'effort_length_ratio') return `${name} was not evaluated at low and high effort`;
  if (withError({ ...rule, metric: 'accuracy' }, model) === undefined)
    return `${name} has no results for ${rule.task ?? 'the suite'} at ${rule.effort ?? 'any'} effort`;
  return `no timings of ${name}`;
}

/** The figure in each resample; undefined where the answers of a model are not there, or not to the same questions. */
function resample(rule: GateRule, { models, answers }: Judged): Distribution | undefined {
  const own = models.find(({ name }) => name === rule.model);
  const baseline = models.find(({ name }) => name === rule.baseline);
  const given = answers.get(rule.model);
  if (own === undefined || given === undefined) return undefined;
  if (rule.baseline === undefined || baseline === undefined)
    return bootstrap(given, undefined, (draw) => figureOf(rule, drawnMeans(own, 'own', draw)));
  const theirs = answers.get(rule.baseline);
  if (theirs === undefined) return undefined;
  return bootstrap(given, theirs, (draw) => {
    const mine = figureOf(rule, drawnMeans(own, 'own', draw));
    const other = figureOf(rule, drawnMeans(baseline, 'baseline', draw));
    if (mine === undefined || other === undefined) return undefined;
    return rule.compare === 'ratio' ? mine / other : mine - other;
  });
}

function shareWhere({ values }: Distribution, holds: (value: number) => boolean): number {
  return values.filter(holds).length / values.length;
}
