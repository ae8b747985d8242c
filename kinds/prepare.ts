import { productOf } from './compute.ts';
import type { Kind } from './kind.ts';
import { choice, flag, integer, list, mapOf, number, seed, settings } from './setting.ts';

export const effort = choice('Reasoning effort, as the Harmony system message says it.', [
  'low',
  'medium',
  'high',
]);

export const prepareKind: Kind = {
  name: 'prepare',
  version: 1,
  summary:
    'A data set as packed, seeded shards in the Harmony format; what overlaps with evaluation sets is removed and listed.',
  example:
    'calibration: { kind: prepare, inputs: { tokenizer: parent, exclude: [tasks.data] }, with: { generator: rehearsal-tasks, split: calibration, examples: 256 } }',
  with: settings(
    {
      generator: choice('A seeded task generator; instead of the input `source`.', ['rehearsal-tasks']),
      split: choice('Which disjoint part of the seeds or rows.', ['train', 'calibration', 'heldout']),
      examples: integer('Examples asked for.', { minimum: 1, unit: 'examples' }),
      efforts: list('Efforts that examples are written for, in turn.', effort, {
        default: ['low', 'medium', 'high'],
        minItems: 1,
        uniqueItems: true,
      }),
      tasks: mapOf(
        'Share of each task of the generator; all alike when empty.',
        number('Share, relative to the others.', { minimum: 0 }),
        { default: {} },
      ),
      sequence_length: integer('Length that examples are packed to.', {
        default: 256,
        minimum: 8,
        unit: 'tokens',
      }),
      seed,
      overlap_ngram: integer(
        'An example that shares a run of this many words with an excluded set is removed.',
        {
          default: 13,
          minimum: 1,
          unit: 'words',
        },
      ),
      with_targets: flag('Whether answers are part of the examples.', true),
    },
    ['split', 'examples'],
  ),
  inputs: {
    source: {
      description: 'Rows to read; absent when a generator is named.',
      types: ['dataset'],
      optional: true,
    },
    tokenizer: {
      description: 'Checkpoint whose tokenizer.json and chat template are used.',
      types: ['checkpoint'],
    },
    exclude: {
      description: 'Data sets that must not be overlapped with.',
      types: ['dataset'],
      many: 'list',
      optional: true,
    },
  },
  outputs: { data: 'dataset', removed: 'listing' },
  runner: 'engine',
  deterministic: 'yes',
  code: { python: ['fretsaw_engine.stages.prepare'], typescript: [] },
  estimate: (input) => {
    // A tokenizer in Rust does 0.2-2 million tokens a second and core; packing little beside it.
    const tokens = productOf(input, ['examples', 'sequence_length']);
    return tokens === undefined ? undefined : { low: tokens / 2e6, high: 1 + tokens / 2e5 };
  },
};
