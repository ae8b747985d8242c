import { fixedCost } from './compute.ts';
import type { Inputs, Kind } from './kind.ts';
import { choice, list, mapOf, record, settings, text } from './setting.ts';

/** Also the gate's. */
export const unlike = choice(
  'Results with other caps, tasks, questions, scorers or decoding than those they are set against.',
  ['refuse', 'allow'],
  'refuse',
);

const inputs: Inputs = {
  results: { description: 'Results by model.', types: ['results'], many: 'map' },
  timings: { description: 'Timings by model.', types: ['timings'], many: 'map', optional: true },
  architecture: { description: 'Experts and window of each layer.', types: ['architecture'], optional: true },
  proof: { description: 'How the architecture was chosen.', types: ['proof'], optional: true },
  scores: { description: 'Scores behind the choice.', types: ['scores'], optional: true },
  ranking: { description: 'Order of the experts.', types: ['ranking'], optional: true },
  kept: { description: 'Kept experts by child.', types: ['kept'], many: 'map', optional: true },
  curves: {
    description: 'Loss and reward curves by stage.',
    types: ['metrics'],
    many: 'map',
    optional: true,
  },
  verdict: { description: 'The gate.', types: ['verdict'], optional: true },
};

export const reportKind: Kind = {
  name: 'report',
  version: 4,
  summary:
    'Accuracy, retention, lengths, efficiency, the layer map and the curves, as HTML, Markdown and JSON.',
  example:
    'report: { kind: report, inputs: { results: { parent: eval-parent.results, child: eval-child.results } }, with: { title: Puzzle } }',
  with: settings(
    {
      title: text('Heading.', { minLength: 1 }),
      baseline: text('Model that retention is measured against; the first when absent.', { minLength: 1 }),
      order: list(
        'Models in the order of the tables; by name when absent.',
        text('Model.', { minLength: 1 }),
      ),
      labels: mapOf('Model -> name to show; its own when absent.', text('Name.', { minLength: 1 }), {
        default: {},
      }),
      timing_of: mapOf(
        'Model -> model whose timing counts for it: a simulated FP8 cache gets that of the float cache.',
        text('Model.', { minLength: 1 }),
        { default: {} },
      ),
      unlike,
      comparisons: list(
        'Pairs of models to set side by side.',
        record(
          'One pair.',
          {
            title: text('What the comparison is about.', { minLength: 1 }),
            left: text('Model.', { minLength: 1 }),
            right: text('Model.', { minLength: 1 }),
          },
          { required: ['title', 'left', 'right'] },
        ),
        { default: [] },
      ),
    },
    ['title'],
  ),
  inputs,
  outputs: { report: 'report' },
  runner: 'inline',
  deterministic: 'yes',
  code: { python: [], typescript: ['activities/report.ts'] },
  estimate: fixedCost(0.1, 5),
};
