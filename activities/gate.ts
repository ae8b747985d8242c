import { Failure } from '../core/errors.ts';
import {
  field,
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
import { gateMetrics, judge, type GateRule } from '../report/gate.ts';
import { inputMap, outputFolder, writeOutput } from './inline-files.ts';
import type { InlineJob } from './inline-job.ts';
import { readModels } from './report-models.ts';

/** Writes the verdict, then fails the stage when a rule does not hold, unless told to report only. */
export async function runGate(job: InlineJob): Promise<void> {
  const settings: Place = { value: job.settings, path: `${job.stage}.with` };
  onlyKeys(settings, ['rules', 'on_fail', 'timing_of']);
  const rules = list(readRule)(field(settings, 'rules'));
  const onFail = withDefault(field(settings, 'on_fail'), oneOf(['fail', 'report']), 'fail');
  const models = await readModels({
    results: inputMap(job, 'results'),
    timings: inputMap(job, 'timings'),
    order: [],
    labels: {},
    timingOf: withDefault(field(settings, 'timing_of'), mapOf(text), {}),
  });
  const verdict = judge(rules, models);
  const document = {
    schema: 'fretsaw/verdict/v1',
    passed: verdict.passed,
    rules: verdict.rules.map(({ standardError, ...rule }) => ({ ...rule, standard_error: standardError })),
  };
  await writeOutput(outputFolder(job, 'verdict'), 'verdict.json', `${JSON.stringify(document, null, 1)}\n`);
  if (verdict.passed || onFail === 'report') return;
  const broken = verdict.rules.filter((rule) => !rule.passed);
  const lines = broken.map(
    (rule) =>
      `${rule.rule}: ${rule.value === null ? '' : `${Number(rule.value.toPrecision(4))}, `}${rule.note}`,
  );
  throw new Failure(
    'GATE_FAILED',
    `${broken.length} of ${verdict.rules.length} rules do not hold\n  ${lines.join('\n  ')}`,
    {
      details: { verdict: document },
    },
  );
}

function readRule(place: Place): GateRule {
  onlyKeys(place, ['metric', 'model', 'baseline', 'effort', 'task', 'at_least', 'at_most']);
  const rule: GateRule = {
    metric: oneOf(gateMetrics)(field(place, 'metric')),
    model: text(field(place, 'model')),
    baseline: optional(field(place, 'baseline'), text),
    effort: optional(field(place, 'effort'), text),
    task: optional(field(place, 'task'), text),
    atLeast: optional(field(place, 'at_least'), number),
    atMost: optional(field(place, 'at_most'), number),
  };
  if (rule.atLeast === undefined && rule.atMost === undefined) wrong(place, 'at_least or at_most');
  return rule;
}
