import { forwardAndBackward, productOf, tokensCost } from './compute.ts';
import type { Kind } from './kind.ts';
import {
  anyOf,
  flag,
  integer,
  list,
  mapOf,
  number,
  record,
  seed,
  settings,
  type ObjectSetting,
} from './setting.ts';

const model: ObjectSetting = record(
  'Sizes of the model; the vocabulary is that of the tokenizer.',
  {
    layers: integer('Layers; every other one has full attention.', {
      default: 8,
      minimum: 2,
      unit: 'layers',
    }),
    hidden: integer('Hidden size; a multiple of 32 for MXFP4.', { default: 64, minimum: 32 }),
    intermediate: integer('Size inside an expert; a multiple of 32.', { default: 64, minimum: 32 }),
    experts: integer('Experts of a layer.', { default: 16, minimum: 2, unit: 'experts' }),
    experts_per_token: integer('Experts that a token is routed to.', {
      default: 2,
      minimum: 1,
      unit: 'experts',
    }),
    heads: integer('Query heads.', { default: 4, minimum: 1 }),
    kv_heads: integer('Key and value heads.', { default: 2, minimum: 1 }),
    head_dim: integer('Size of a head.', { default: 32, minimum: 2 }),
    sliding_window: integer('Window of the sliding layers.', { default: 4, minimum: 1, unit: 'tokens' }),
  },
  {
    default: {
      layers: 8,
      hidden: 64,
      intermediate: 64,
      experts: 16,
      experts_per_token: 2,
      heads: 4,
      kv_heads: 2,
      head_dim: 32,
      sliding_window: 4,
    },
  },
);

export const pretrainKind: Kind = {
  name: 'pretrain',
  version: 1,
  summary: 'Trains the tiny parent of the rehearsal from nothing on its seeded tasks.',
  example: 'parent: { kind: pretrain, with: { steps: 3750, batch_size: 32 } }',
  with: settings({
    seed,
    steps: integer('Optimiser steps.', { default: 3750, minimum: 1, unit: 'steps' }),
    batch_size: integer('Rows a step.', { default: 32, minimum: 1, unit: 'rows' }),
    sequence_length: integer('Length of a row.', { default: 96, minimum: 8, unit: 'tokens' }),
    learning_rate: number('Peak learning rate.', { default: 3e-3, exclusiveMinimum: 0, maximum: 1 }),
    last_learning_rate: number('Learning rate of the last step.', { default: 1e-5, minimum: 0, maximum: 1 }),
    warmup_steps: integer('Steps over which the rate rises.', { default: 100, minimum: 0, unit: 'steps' }),
    decay_from: number('Share of the steps after which the rate falls.', {
      default: 0.4,
      minimum: 0,
      maximum: 1,
    }),
    quantise_from: number('Share of the steps after which experts are trained as MXFP4 will store them.', {
      default: 0.7,
      minimum: 0,
      maximum: 1,
    }),
    weight_decay: number('Weight decay.', { default: 0.05, minimum: 0 }),
    clip: number('Largest norm of the gradient.', { default: 1, exclusiveMinimum: 0 }),
    balance: number('Weight of the loss that spreads tokens over experts.', { default: 0.004, minimum: 0 }),
    late_balance: number('The same once the learning rate falls.', { default: 0.01, minimum: 0 }),
    thin_rows: number(
      'Share of the rows trained with layers windowed and experts left out, so that the method has room.',
      {
        default: 0.5,
        minimum: 0,
        maximum: 1,
      },
    ),
    late_thin_rows: number('The same once the learning rate falls.', {
      default: 0.25,
      minimum: 0,
      maximum: 1,
    }),
    thin_layers: integer('Full-attention layers windowed in such a row, at most.', {
      default: 2,
      minimum: 0,
      unit: 'layers',
    }),
    thin_experts: integer('Experts left out in such a row, at most.', {
      default: 4,
      minimum: 0,
      unit: 'experts',
    }),
    drill_pairs: list(
      'Length of the lists in the drill: first and last.',
      integer('Pairs.', { minimum: 1 }),
      {
        default: [8, 24],
        minItems: 2,
      },
    ),
    drill_success: number('Accuracy at which the lists grow.', {
      default: 0.95,
      exclusiveMinimum: 0,
      maximum: 1,
    }),
    drill_most_steps: integer('Steps after which the drill ends all the same.', {
      default: 1500,
      minimum: 0,
      unit: 'steps',
    }),
    drill_queries: integer('Answered queries a list.', { default: 12, minimum: 1 }),
    mixture: mapOf(
      'Share of each task after the drill.',
      number('Share, relative to the others.', { minimum: 0 }),
      {
        default: { arithmetic: 0.45, recall: 0.2, format: 0.25, drill: 0.1 },
      },
    ),
    tasks: mapOf(
      'Settings of a task where training differs from evaluation.',
      mapOf(
        'By name of the setting.',
        anyOf('A number, a range, or a switch.', [
          number('Value.'),
          list('First and last.', number('Bound.'), { minItems: 2 }),
          flag('Switch.'),
        ]),
      ),
      { default: { recall: { pairs: [4, 24], beyond: 0 } } },
    ),
    model,
    snapshot_every: integer('Steps between snapshots.', { default: 250, minimum: 1, unit: 'steps' }),
    evaluate_every: integer('Steps between measurements.', { default: 500, minimum: 1, unit: 'steps' }),
    evaluate_examples: integer('Examples of each task and effort on the way.', {
      default: 32,
      minimum: 1,
      unit: 'examples',
    }),
    final_examples: integer('Examples of each task and effort at the end.', {
      default: 200,
      minimum: 1,
      unit: 'examples',
    }),
  }),
  inputs: {},
  outputs: { checkpoint: 'checkpoint', curves: 'metrics' },
  runner: 'engine',
  deterministic: 'cpu',
  canContinue: true,
  code: { python: ['fretsaw_engine.stages.pretrain'], typescript: [] },
  estimate: (input) =>
    tokensCost(input, productOf(input, ['steps', 'batch_size', 'sequence_length']), {
      flopsPerParameter: forwardAndBackward,
      phase: 'dense',
    }),
};
