import { fixedCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { effort } from './prepare.ts';
import { unlike } from './report.ts';
import { choice, flag, list, mapOf, number, record, settings, text } from './setting.ts';

/** Figures that a rule may judge. */
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

export const gateKind: Kind = {
  name: 'gate',
  version: 3,
  summary: 'Rules over the results: passed or failed, with the figures.',
  example:
    'gate: { kind: gate, inputs: { results: { parent: eval-parent.results, child: eval-child.results } }, with: { rules: [...] } }',
  with: settings(
    {
      rules: list(
        'All must hold.',
        record(
          'One rule.',
          {
            metric: choice('Figure that is judged; see docs/glossary.md.', gateMetrics),
            model: text('Name of the model in the input map.', { minLength: 1 }),
            baseline: text('Model that it is set against; the figure itself is judged when absent.', {
              minLength: 1,
            }),
            compare: choice(
              'How it is set against the baseline; a difference of rates is in shares: 0.01 is a point.',
              ['ratio', 'difference'],
              'ratio',
            ),
            effort,
            task: text('One task; the whole suite when absent.', { minLength: 1 }),
            each_task: flag('Judged for each task apart.', false),
            at_least: number('Lower limit.'),
            at_most: number('Upper limit.'),
          },
          { required: ['metric', 'model'] },
        ),
        { minItems: 1 },
      ),
      on_fail: choice('A broken rule fails the stage, or is reported only.', ['fail', 'report'], 'fail'),
      unlike,
      override: record(
        'A person lets broken rules pass; `fretsaw override` writes it.',
        {
          by: text('Who.', { minLength: 1 }),
          reason: text('Why.', { minLength: 1 }),
        },
        { required: ['by', 'reason'] },
      ),
      timing_of: mapOf('Model -> model whose timing counts for it.', text('Model.', { minLength: 1 }), {
        default: {},
      }),
    },
    ['rules'],
  ),
  inputs: {
    results: { description: 'Results by model.', types: ['results'], many: 'map' },
    timings: { description: 'Timings by model.', types: ['timings'], many: 'map', optional: true },
  },
  outputs: { verdict: 'verdict' },
  runner: 'inline',
  deterministic: 'yes',
  code: { python: [], typescript: ['activities/gate.ts'] },
  estimate: fixedCost(0.01, 1),
};
