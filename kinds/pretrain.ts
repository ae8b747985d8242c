import { forwardAndBackward, productOf, tokensCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { integer, number, seed, settings } from './setting.ts';

export const pretrainKind: Kind = {
  name: 'pretrain',
  version: 1,
  summary: 'Trains the tiny parent of the rehearsal from nothing on its seeded tasks.',
  example: 'parent: { kind: pretrain, with: { steps: 20000, batch_size: 32 } }',
  with: settings({
    steps: integer('Optimiser steps.', { default: 20_000, minimum: 1, unit: 'steps' }),
    batch_size: integer('Sequences a step.', { default: 32, minimum: 1, unit: 'sequences' }),
    sequence_length: integer('Length of a sequence.', { default: 256, minimum: 8, unit: 'tokens' }),
    learning_rate: number('Peak learning rate.', { default: 3e-3, exclusiveMinimum: 0 }),
    snapshot_every: integer('Steps between snapshots.', { default: 500, minimum: 1, unit: 'steps' }),
    seed,
  }),
  inputs: {},
  outputs: { checkpoint: 'checkpoint', curves: 'metrics' },
  runner: 'engine',
  deterministic: 'cpu',
  code: { python: ['fretsaw_engine.stages.pretrain'], typescript: [] },
  estimate: (input) =>
    tokensCost(input, productOf(input, ['steps', 'batch_size', 'sequence_length']), {
      flopsPerParameter: forwardAndBackward,
      phase: 'dense',
    }),
};
