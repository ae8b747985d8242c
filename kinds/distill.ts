import { forward, forwardAndBackward, tokensCost, trainingWork, workCost } from './compute.ts';
import { numberIn, type EstimateInput, type Kind, type Work } from './kind.ts';
import { choice, integer, number, seed, settings } from './setting.ts';

export const distillKind: Kind = {
  name: 'distill',
  version: 2,
  summary: 'Knowledge distillation from teacher to student, router and experts frozen.',
  example:
    'distill: { kind: distill, inputs: { teacher: parent, student: child.checkpoint, data: answers.data }, with: { tokens: "${params.kd_tokens}" } }',
  with: settings(
    {
      tokens: integer('Tokens trained on.', { minimum: 1, unit: 'tokens' }),
      sequence_length: integer('Length of a training sequence.', {
        default: 256,
        minimum: 8,
        unit: 'tokens',
      }),
      batch_size: integer('Sequences an optimiser step, over all ranks.', {
        default: 16,
        minimum: 1,
        unit: 'sequences',
      }),
      learning_rate: number('Peak learning rate.', { default: 3e-4, exclusiveMinimum: 0, maximum: 1 }),
      schedule: choice('How the rate falls after the warm-up.', ['constant', 'linear', 'cosine'], 'cosine'),
      warmup: number('Share of the steps over which the rate rises.', {
        default: 0.03,
        minimum: 0,
        maximum: 0.99,
      }),
      weight_decay: number('Weight decay.', { default: 0, minimum: 0 }),
      max_grad_norm: number('Largest norm of the gradient.', { default: 1, exclusiveMinimum: 0 }),
      temperature: number('Softening of both distributions.', { default: 1, exclusiveMinimum: 0 }),
      ce_weight: number('Weight of plain cross-entropy beside the divergence.', {
        default: 0,
        minimum: 0,
        maximum: 1,
      }),
      hidden_weight: number(
        'Weight of 1 - cos of the last hidden states beside the divergence (Puzzle, arXiv 2411.19146).',
        { default: 0, minimum: 0 },
      ),
      spike_factor: number(
        'Loss or gradient norm above this many times the median of the last 20 steps stops the stage.',
        { default: 10, exclusiveMinimum: 1 },
      ),
      snapshot_every: integer('Steps between snapshots.', { default: 50, minimum: 1, unit: 'steps' }),
      chunk: integer('Positions whose logits are in memory at once.', {
        default: 512,
        minimum: 1,
        unit: 'tokens',
      }),
      seed,
    },
    ['tokens'],
  ),
  inputs: {
    teacher: { description: 'The parent.', types: ['checkpoint'] },
    student: { description: 'The child.', types: ['checkpoint'] },
    data: { description: 'Answers to train on.', types: ['dataset'], many: 'list' },
    kept: { description: 'Kept-expert map; compared with the student.', types: ['kept'], optional: true },
  },
  outputs: { checkpoint: 'checkpoint', curves: 'metrics' },
  runner: 'engine',
  deterministic: 'cpu',
  canContinue: true,
  code: { python: ['fretsaw_engine.stages.distill'], typescript: [] },
  sequencesPerStep: (settings) => numberIn(settings, 'batch_size'),
  sharedTokens: (settings) => numberIn(settings, 'sequence_length'),
  estimate: (input) =>
    workCost(distillWork(input)) ??
    tokensCost(input, numberIn(input.with, 'tokens'), {
      flopsPerParameter: forward + forwardAndBackward,
      phase: 'dense',
    }),
  work: distillWork,
};

function distillWork(input: EstimateInput): Work | undefined {
  return trainingWork(input, numberIn(input.with, 'tokens'), {
    sequenceTokens: numberIn(input.with, 'sequence_length') ?? 1,
    hasTeacher: true,
    logitChunk: numberIn(input.with, 'chunk') ?? 1,
  });
}
