import { copyCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { effort } from './prepare.ts';
import { anyOf, integer, list, mapOf, number, record, settings } from './setting.ts';

const weight = number('Weight, relative to the others.', { minimum: 0 });

export const averageKind: Kind = {
  name: 'average',
  version: 2,
  summary: 'Weighted average of checkpoints; frozen tensors must be identical, or it refuses.',
  example:
    'average: { kind: average, inputs: { models: { high: rl-high.checkpoint, mixed: rl-mixed.checkpoint } } }',
  with: settings({
    weights: anyOf('Weights by name or in list order; equal when absent.', [
      mapOf('By name.', weight),
      list('In list order.', weight, { minItems: 1 }),
    ]),
    sweep: record(
      'Tries all weights of a grid on the input tasks and takes the best; never the questions of the final evaluation.',
      {
        steps: integer('4 tries shares of 0, 1/4 ... 1.', { default: 4, minimum: 1 }),
        examples: integer('Questions at each effort.', { default: 64, minimum: 1, unit: 'examples' }),
        batch_size: integer('Questions in one batch.', { default: 64, minimum: 1, unit: 'examples' }),
        efforts: list('Efforts that count, each the same.', effort, {
          default: ['low', 'medium', 'high'],
          minItems: 1,
          uniqueItems: true,
        }),
        max_new_tokens: mapOf('Longest answer by effort.', integer('Cap.', { minimum: 1, unit: 'tokens' })),
      },
      { required: ['max_new_tokens'] },
    ),
  }),
  inputs: {
    models: { description: 'Checkpoints of one architecture.', types: ['checkpoint'], many: 'list-or-map' },
    tasks: { description: 'Questions that a sweep chooses by.', types: ['dataset'], optional: true },
  },
  outputs: (settings) =>
    settings['sweep'] === undefined
      ? { checkpoint: 'checkpoint' }
      : { checkpoint: 'checkpoint', sweep: 'listing' },
  runner: 'engine',
  deterministic: 'yes',
  code: { python: ['fretsaw_engine.stages.average'], typescript: [] },
  estimate: copyCost(3),
};
