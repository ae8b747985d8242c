import { copyCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { anyOf, list, mapOf, number, settings } from './setting.ts';

const weight = number('Weight, relative to the others.', { minimum: 0 });

export const averageKind: Kind = {
  name: 'average',
  version: 1,
  summary: 'Weighted average of checkpoints; frozen tensors must be identical, or it refuses.',
  example:
    'average: { kind: average, inputs: { models: { high: rl-high.checkpoint, mixed: rl-mixed.checkpoint } } }',
  with: settings({
    weights: anyOf('Weights by name or in list order; equal when absent.', [
      mapOf('By name.', weight),
      list('In list order.', weight, { minItems: 1 }),
    ]),
  }),
  inputs: {
    models: { description: 'Checkpoints of one architecture.', types: ['checkpoint'], many: 'list-or-map' },
  },
  outputs: { checkpoint: 'checkpoint' },
  runner: 'engine',
  deterministic: 'yes',
  code: { python: ['fretsaw_engine.stages.average'], typescript: [] },
  estimate: copyCost(3),
};
