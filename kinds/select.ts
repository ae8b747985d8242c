import { fixedCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { choice, integer, list, number, record, settings, text } from './setting.ts';

export const selectKind: Kind = {
  name: 'select',
  version: 1,
  summary:
    'Mixed-integer program over all layers: the architecture, and apart from it the proof that nothing better fits.',
  example:
    'select: { kind: select, inputs: { scores: blocks.scores, model: parent }, with: { experts_kept_max: 0.75, full_attention_windowed: 2 } }',
  with: settings({
    scenarios: list(
      'Serving scenarios that the child must fit.',
      record(
        'One scenario.',
        {
          name: text('For people.', { minLength: 1 }),
          gpus: integer('GPUs of one server.', { default: 1, minimum: 1, unit: 'GPUs' }),
          input_tokens: integer('Prompt length.', { minimum: 1, unit: 'tokens' }),
          output_tokens: integer('Answer length.', { minimum: 1, unit: 'tokens' }),
          batch: integer('Requests served at once; chosen when absent.', { minimum: 1, unit: 'requests' }),
          memory_max: number('Weights and cache, as a share of the parent’s.', {
            exclusiveMinimum: 0,
            maximum: 1,
          }),
          time_max: number('Time a request, as a share of the parent’s.', {
            exclusiveMinimum: 0,
            maximum: 1,
          }),
        },
        { required: ['name', 'input_tokens', 'output_tokens'] },
      ),
      { default: [] },
    ),
    experts_kept_max: number('Largest share of all experts that may stay.', {
      default: 0.75,
      exclusiveMinimum: 0,
      maximum: 1,
    }),
    full_attention_windowed: integer('Full-attention layers that get a window.', {
      minimum: 0,
      unit: 'layers',
    }),
    expert_multiple: integer('Every kept count divides by this (expert-parallel size).', {
      default: 1,
      minimum: 1,
      unit: 'experts',
    }),
    long_context_weight: number('Weight of the long-context loss beside the block score.', {
      default: 1,
      minimum: 0,
    }),
    hardware: choice('Machine of the roofline.', ['h100-sxm'], 'h100-sxm'),
    time_limit_seconds: number('Stops the solver; the proof then states the gap.', {
      default: 60,
      exclusiveMinimum: 0,
      unit: 's',
    }),
  }),
  inputs: {
    scores: { description: 'Scores of every choice.', types: ['scores'] },
    model: { description: 'The parent, for its geometry.', types: ['checkpoint'] },
  },
  outputs: { architecture: 'architecture', proof: 'proof' },
  runner: 'inline',
  deterministic: 'yes',
  code: { python: [], typescript: ['activities/select.ts'] },
  estimate: fixedCost(0.1, 60),
};
