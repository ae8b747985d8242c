import { Failure } from '../core/errors.ts';
import {
  field,
  flag,
  list,
  mapOf,
  number,
  oneOf,
  onlyKeys,
  optional,
  text,
  withDefault,
  wrong,
  type Place,
} from '../costs/json-reader.ts';
import { gateMetrics } from '../kinds/gate.ts';
import { requireAlike } from '../report/comparable.ts';
import type { Model } from '../report/evidence.ts';
import { judge, type GateRule, type Judgement } from '../report/gate.ts';
import { inputMap, outputFolder, writeOutput } from './inline-files.ts';
import type { InlineJob } from './inline-job.ts';
import { readAllAnswers } from './report-answers.ts';
import { readModels } from './report-models.ts';

/** A person's word that a broken rule stops nothing; part of the key, so of every lineage above. */
interface Override {
  by: string;
  reason: string;
}

/** Writes the verdict, then fails the stage when a rule does not hold, unless told to report only or overridden by a person. */
export async function runGate(job: InlineJob): Promise<void> {
  const settings: Place = { value: job.settings, path: `${job.stage}.with` };
  onlyKeys(settings, ['rules', 'on_fail', 'timing_of', 'unlike', 'override']);
  const rules = list(readRule)(field(settings, 'rules'));
  const onFail = withDefault(field(settings, 'on_fail'), oneOf(['fail', 'report']), 'fail');
  const override = optional(field(settings, 'override'), readOverride);
  const results = inputMap(job, 'results');
  const models = await readModels({
    results,
    timings: inputMap(job, 'timings'),
    order: [],
    labels: {},
    timingOf: withDefault(field(settings, 'timing_of'), mapOf(text), {}),
  });
  const unlike = withDefault(field(settings, 'unlike'), oneOf(['refuse', 'allow']), 'refuse');
  const differences = requireAlike(comparedPairs(rules, models), unlike === 'allow');
  const verdict = judge(rules, { models, answers: await readAllAnswers(results) });
  const document = {
    schema: 'fretsaw/verdict/v2',
    passed: verdict.passed,
    override: override ?? null,
    unlike: differences,
    rules: verdict.rules.map(({ standardError, ...rule }) => ({ ...rule, standard_error: standardError })),
  };
  await writeOutput(outputFolder(job, 'verdict'), 'verdict.json', `${JSON.stringify(document, null, 1)}\n`);
  if (verdict.passed || onFail === 'report' || override !== undefined) return;
  throw new Failure('GATE_FAILED', failureText(verdict.rules), { details: { verdict: document } });
}

function failureText(rules: readonly Judgement[]): string {
  const broken = rules.filter((rule) => !rule.passed);
  const lines = broken.map(
    (rule) =>
      `${rule.rule}: ${rule.value === null ? '' : `${Number(rule.value.toPrecision(4))}, `}${rule.note}`,
  );
  return `${broken.length} of ${rules.length} rules do not hold (fretsaw override lets them pass, by name and with a reason)\n  ${lines.join('\n  ')}`;
}

/** Models that a rule sets against each other. */
function comparedPairs(rules: readonly GateRule[], models: readonly Model[]): [Model, Model][] {
  return rules.flatMap((rule): [Model, Model][] => {
    const own = models.find(({ name }) => name === rule.model);
    const baseline = models.find(({ name }) => name === rule.baseline);
    return own === undefined || baseline === undefined ? [] : [[own, baseline]];
  });
}

function readRule(place: Place): GateRule {
  onlyKeys(place, [
    ...['metric', 'model', 'baseline', 'compare', 'effort', 'task', 'each_task'],
    ...['at_least', 'at_most'],
  ]);
  const rule: GateRule = {
    metric: oneOf(gateMetrics)(field(place, 'metric')),
    model: text(field(place, 'model')),
    baseline: optional(field(place, 'baseline'), text),
    compare: withDefault(field(place, 'compare'), oneOf(['ratio', 'difference']), 'ratio'),
    effort: optional(field(place, 'effort'), text),
    task: optional(field(place, 'task'), text),
    isEachTask: withDefault(field(place, 'each_task'), flag, false),
    atLeast: optional(field(place, 'at_least'), number),
    atMost: optional(field(place, 'at_most'), number),
  };
  if (rule.atLeast === undefined && rule.atMost === undefined) wrong(place, 'at_least or at_most');
  if (rule.isEachTask && rule.task !== undefined) wrong(place, 'task or each_task, not both');
  return rule;
}

function readOverride(place: Place): Override {
  onlyKeys(place, ['by', 'reason']);
  return { by: said(field(place, 'by')), reason: said(field(place, 'reason')) };
}

function said(place: Place): string {
  const words = text(place);
  return words.trim() === '' ? wrong(place, 'some words') : words;
}
