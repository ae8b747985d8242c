import { hardwareNames } from '../costs/hardware.ts';
import { fixedCost } from './compute.ts';
import type { Kind } from './kind.ts';
import {
  anyOf,
  choice,
  flag,
  integer,
  list,
  nothing,
  number,
  record,
  seed,
  settings,
  text,
} from './setting.ts';

const requests = integer('Requests served at once.', { minimum: 1, unit: 'requests' });
const share = { minimum: 0, maximum: 1 };

const scenario = record(
  'One way in which the child is to be served.',
  {
    name: text('For people.', { minLength: 1 }),
    hardware: choice('GPU of this scenario; that of the stage when absent.', hardwareNames),
    gpus: integer('GPUs of one server.', { default: 1, minimum: 1, unit: 'GPUs' }),
    tensor_parallel: integer('GPUs of one replica; all when absent.', { minimum: 1, unit: 'GPUs' }),
    expert_parallel: integer(
      '1, or tensor_parallel: GPUs over which whole experts are spread; every kept count then divides by it.',
      { default: 1, minimum: 1, unit: 'GPUs' },
    ),
    input_tokens: integer('Prompt length.', { minimum: 1, unit: 'tokens' }),
    output_tokens: integer('Answer length.', { minimum: 1, unit: 'tokens' }),
    kv: choice('Number format of the cache.', ['fp8', 'bf16'], 'fp8'),
    parent_kv: choice('That of the parent, where a gain is told; the same when absent.', ['fp8', 'bf16']),
    batch: anyOf(
      'Requests at once on one replica. One is fixed, several are tried; powers of two when absent.',
      [requests, list('Tried.', requests, { minItems: 1 })],
    ),
    must_fit: flag('Weights and cache must fit the server.', true),
    memory_max: number('Weights and cache, as a share of the parent’s.', share),
    time_max: number('Time of a batch, as a share of the parent’s.', share),
    throughput_min: number('Generated tokens a second, all requests together.', {
      minimum: 0,
      unit: 'tokens/s',
    }),
    latency_ms_max: number('Time a token of one request.', { minimum: 0, unit: 'ms' }),
  },
  { required: ['name', 'input_tokens', 'output_tokens'] },
);

const layers = { minimum: 0, unit: 'layers' };
const window = anyOf('A window in tokens, or null for full attention.', [
  integer('Window.', { minimum: 1, unit: 'tokens' }),
  nothing,
]);
const rule = record('A rule on one layer, or on all when `layer` is absent.', {
  layer: integer('Layer, from 0.', { minimum: 0 }),
  experts: integer('Kept experts.', { minimum: 1, unit: 'experts' }),
  window,
});

const efficiency = { minimum: 0.001, maximum: 1 };
const engine = record(
  'What the serving engine makes of the hardware, as `fretsaw costs fit` prints it; vLLM on H100 when absent.',
  {
    weight_efficiency: number('Share of memory bandwidth at which weights are read.', efficiency),
    kv_efficiency_fp8: number('Share of memory bandwidth at which an FP8 cache is read.', efficiency),
    kv_efficiency_bf16: number('The same of a bf16 cache.', { ...efficiency, default: 1 }),
    flop_efficiency: number('Share of peak FLOP/s of matrix products.', efficiency),
    memory_share: number('Share of memory that the engine takes.', { ...efficiency, default: 0.95 }),
    reserved_gib: number('Memory that is neither weights nor cache, each GPU.', { minimum: 0, unit: 'GiB' }),
    band_mean: number('How far predictions are off on average, as a share.', { minimum: 0 }),
    band_worst: number('How far they are off at worst.', { minimum: 0 }),
  },
  {
    required: [
      'weight_efficiency',
      'kv_efficiency_fp8',
      'flop_efficiency',
      'reserved_gib',
      'band_mean',
      'band_worst',
    ],
  },
);

const objective = record(
  'One objective; what comes after may give up `slack` of it.',
  {
    minimise: choice('What.', ['score', 'parameters', 'weight_gib', 'kv', 'time'], 'score'),
    scenario: text('For time: the scenario whose batch is timed.', { minLength: 1 }),
    context: integer('For kv: tokens in the cache.', { minimum: 1, unit: 'tokens' }),
    slack: number('How much worse than its best it may become, as a share.', { default: 0, minimum: 0 }),
  },
  { required: ['minimise'] },
);

export const selectKind: Kind = {
  name: 'select',
  version: 3,
  summary:
    'Mixed-integer program over all layers: the architecture, and apart from it the proof that nothing better fits.',
  example:
    'select: { kind: select, inputs: { scores: blocks.scores, model: parent }, with: { experts_kept_max: 0.75, full_attention_windowed: 2 } }',
  with: settings({
    scenarios: list('Serving scenarios that the child must fit.', scenario, { default: [] }),
    experts_kept_max: number('Largest share of all experts that may stay.', share),
    experts_kept_min: number('Smallest share of all experts that must stay.', share),
    full_attention_windowed: anyOf('Full-attention layers that get a window.', [
      integer('Exactly so many.', layers),
      record('A bound.', {
        exactly: integer('So many.', layers),
        at_least: integer('So many or more.', layers),
        at_most: integer('So many or fewer.', layers),
      }),
    ]),
    expert_multiple: integer('Every kept count divides by this (expert-parallel size).', {
      default: 1,
      minimum: 1,
      unit: 'experts',
    }),
    expert_counts: list(
      'Only these counts; all that were scored when absent.',
      integer('Kept experts.', { minimum: 1 }),
      { minItems: 1 },
    ),
    windows: list('Only these windows; all that were scored when absent.', window, { minItems: 1 }),
    long_context_weight: number('Score that a unit of lost long-context accuracy counts as.', {
      default: 1,
      minimum: 0,
    }),
    experts_per_layer: record('Experts that any one layer keeps.', {
      min: integer('So many or more.', { minimum: 1, unit: 'experts' }),
      max: integer('So many or fewer.', { minimum: 1, unit: 'experts' }),
    }),
    distance: integer('Layers that differ at least from every architecture in `differ_from`.', {
      default: 1,
      minimum: 1,
      unit: 'layers',
    }),
    objectives: list('What is made small, in order of importance.', objective, {
      default: [{ minimise: 'score', slack: 0 }],
      minItems: 1,
    }),
    parameters_max: number('Largest number of parameters.', { minimum: 0, unit: 'parameters' }),
    weight_gib_max: number('Largest size of the weights.', { minimum: 0, unit: 'GiB' }),
    kv_max: record(
      'Largest cache.',
      {
        context: integer('Tokens in the cache.', { minimum: 1, unit: 'tokens' }),
        of_parent: number('Share of the parent’s cache.', share),
      },
      { required: ['context', 'of_parent'] },
    ),
    force: list('Choices that must be made.', rule, { default: [] }),
    forbid: list('Choices that must not be made.', rule, { default: [] }),
    hardware: choice('GPU of the roofline model.', hardwareNames, 'h100-sxm'),
    engine,
    time_limit_seconds: number('Stops the solver; the proof then states the gap.', {
      default: 60,
      exclusiveMinimum: 0,
      unit: 's',
    }),
    alternatives: record(
      'Other good architectures to report.',
      {
        count: integer('How many.', { default: 3, minimum: 0 }),
        distance: integer('Layers in which each differs from the others at least.', {
          default: 1,
          minimum: 1,
          unit: 'layers',
        }),
      },
      { default: { count: 3, distance: 1 } },
    ),
    noise_samples: integer('Repetitions with disturbed scores, for how sure each choice is.', {
      default: 20,
      minimum: 0,
    }),
    random_samples: integer('Random architectures to compare with.', { default: 200, minimum: 0 }),
    pareto_points: integer('Points of the trade-off between score and cost.', { default: 20, minimum: 0 }),
    seed,
  }),
  inputs: {
    scores: { description: 'Scores of every choice.', types: ['scores'] },
    model: {
      description: 'The parent, for its geometry: its config.json is all that is read.',
      types: ['checkpoint', 'folder'],
    },
    differ_from: {
      description: 'Architectures that the selection must differ from in `distance` layers.',
      types: ['architecture'],
      many: 'map',
      optional: true,
    },
    references: {
      description: 'Architectures that the proof sets beside the selection.',
      types: ['architecture'],
      many: 'map',
      optional: true,
    },
  },
  outputs: { architecture: 'architecture', proof: 'proof' },
  runner: 'inline',
  deterministic: 'yes',
  code: { python: [], typescript: ['activities/select.ts'] },
  estimate: fixedCost(0.1, 60),
};
