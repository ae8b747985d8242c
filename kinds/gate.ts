import { fixedCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { effort } from './prepare.ts';
import { choice, list, mapOf, number, record, settings, text } from './setting.ts';

const metrics = [
  'accuracy',
  'mean_tokens',
  'cap_hit_rate',
  'final_rate',
  'retention',
  'effort_length_ratio',
  'request_efficiency',
];

export const gateKind: Kind = {
  name: 'gate',
  version: 1,
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
            metric: choice('Figure that is judged; see docs/glossary.md.', metrics),
            model: text('Name of the model in the input map.', { minLength: 1 }),
            baseline: text('Model to divide by; the figure itself is judged when absent.', {
              minLength: 1,
            }),
            effort,
            task: text('One task; the whole suite when absent.', { minLength: 1 }),
            at_least: number('Lower limit.'),
            at_most: number('Upper limit.'),
          },
          { required: ['metric', 'model'] },
        ),
        { minItems: 1 },
      ),
      on_fail: choice('A broken rule fails the stage, or is reported only.', ['fail', 'report'], 'fail'),
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
