import {
  decodingCost,
  decodingWork,
  forward,
  forwardAndBackward,
  productOf,
  rolloutEngine,
  tokensCost,
  trainingWork,
  type Decoding,
  type RolloutEngine,
} from './compute.ts';
import { numberIn, type EstimateInput, type Kind, type Work } from './kind.ts';
import { rollout } from './rollout.ts';
import { choice, flag, integer, mapOf, number, seed, settings } from './setting.ts';

export const reinforceKind: Kind = {
  name: 'reinforce',
  version: 2,
  summary:
    'GRPO with verifiable rewards, router and experts frozen; a high-effort and a mixed-effort variant.',
  example:
    'rl: { kind: reinforce, inputs: { model: distill.checkpoint, prompts: train.data }, with: { variant: high, steps: 60 } }',
  with: settings(
    {
      variant: choice('high: high effort only; mixed: all efforts with length regularisation.', [
        'high',
        'mixed',
      ]),
      efforts: mapOf(
        'Share of each effort among the prompts; by variant when empty.',
        number('Share.', { minimum: 0 }),
        {
          default: {},
        },
      ),
      steps: integer('Optimiser steps.', { minimum: 1, unit: 'steps' }),
      group_size: integer('Answers a prompt, compared with each other (GRPO, arXiv 2402.03300, has 64).', {
        default: 8,
        minimum: 2,
        unit: 'answers',
      }),
      prompts_per_step: integer('Prompts a step.', { default: 4, minimum: 1, unit: 'prompts' }),
      learning_rate: number('Learning rate.', { default: 1e-5, exclusiveMinimum: 0, maximum: 1 }),
      warmup: number('Share of the steps over which the rate rises.', { default: 0, minimum: 0, maximum: 1 }),
      max_grad_norm: number('Largest norm of the gradient.', { default: 1, exclusiveMinimum: 0 }),
      kl_beta: number('Weight of the divergence from the reference; 0 as in DAPO (arXiv 2503.14476).', {
        default: 0,
        minimum: 0,
      }),
      clip: number('Clip range of the probability ratio (PPO, arXiv 1707.06347).', {
        default: 0.2,
        exclusiveMinimum: 0,
        maximum: 1,
      }),
      max_new_tokens: integer('Longest answer.', { minimum: 1, unit: 'tokens' }),
      temperature: number('Sampling temperature; 1 keeps rollouts on policy.', {
        default: 1,
        exclusiveMinimum: 0,
        maximum: 5,
      }),
      format_weight: number(
        'Reward of an answer in the right form, beside 1 for a right one (DeepSeek-R1, arXiv 2501.12948).',
        {
          default: 0.2,
          minimum: 0,
        },
      ),
      length_weight: mapOf(
        'Weight of the length penalty by effort; by variant when empty (after Kimi k1.5, arXiv 2501.12599).',
        number('Weight.', { minimum: 0 }),
        {
          default: {},
        },
      ),
      mask_capped: flag('Leave answers that hit the cap out of the loss (DAPO, arXiv 2503.14476).', false),
      rollout,
      sample_every: integer('Steps between answers that are kept to read.', {
        default: 10,
        minimum: 1,
        unit: 'steps',
      }),
      snapshot_every: integer('Steps between snapshots.', { default: 10, minimum: 1, unit: 'steps' }),
      seed,
    },
    ['variant', 'steps', 'max_new_tokens'],
  ),
  inputs: {
    model: { description: 'Where training starts.', types: ['checkpoint'] },
    prompts: { description: 'Examples with checkable answers.', types: ['dataset'] },
    reference: {
      description: 'Reference of the divergence; the start when absent.',
      types: ['checkpoint'],
      optional: true,
    },
  },
  outputs: { checkpoint: 'checkpoint', curves: 'metrics', samples: 'listing' },
  runner: 'engine',
  deterministic: 'cpu',
  canContinue: true,
  code: { python: ['fretsaw_engine.stages.reinforce'], typescript: [] },
  sequencesPerStep: (given) => {
    const [size, prompts] = [numberIn(given, 'group_size'), numberIn(given, 'prompts_per_step')];
    return size === undefined || prompts === undefined ? undefined : size * prompts;
  },
  estimate: (input) => {
    const tokens = tokensOf(input);
    const decode = decodingCost(input, tokens, decodingOf(input));
    const train =
      trainOf(input)?.seconds ??
      tokensCost(input, tokens, { flopsPerParameter: forward + forwardAndBackward, phase: 'dense' });
    if (decode === undefined || train === undefined) return undefined;
    return { low: decode.low + train.low * shortest, high: decode.high + train.high };
  },
  work: (input) => {
    const train = trainOf(input);
    const decode = decodingWork(input, tokensOf(input), decodingOf(input));
    if (train === undefined || decode === undefined) return undefined;
    return {
      flops: train.flops + decode.flops,
      memory: memoryBeside(train.memory, decode.memory, rolloutEngine(input.with)),
      seconds: undefined,
    };
  },
};

/** Answers of RL end earlier than their cap, but are meant to be long. */
const shortest = 1 / 4;

/** At most: every answer as long as allowed. */
function tokensOf(input: EstimateInput): number | undefined {
  return productOf(input, ['steps', 'group_size', 'prompts_per_step', 'max_new_tokens']);
}

/** Logits are never whole: TRL's fused head projects them in tiles (trl/trainer/utils.py, add_fused_lm_head). */
function trainOf(input: EstimateInput): Work | undefined {
  const sequenceTokens = numberIn(input.with, 'max_new_tokens') ?? 1;
  return trainingWork(input, tokensOf(input), { sequenceTokens, hasTeacher: false, logitChunk: 0 });
}

function decodingOf(input: EstimateInput): Decoding {
  const answers = productOf(input, ['group_size', 'prompts_per_step']) ?? 1;
  return {
    outputTokens: numberIn(input.with, 'max_new_tokens') ?? 1,
    batch: Math.ceil(answers / Math.max(1, input.resources.gpus)),
    engine: rolloutEngine(input.with),
    shortest,
  };
}

/**
 * What lies beside the training's own state while answers are written: in this process the whole model and its cache, by vLLM
 * in this process its copy and cache; a server has GPUs of its own. Training's gathered layers and activations are gone then.
 */
function memoryBeside(train: Work['memory'], decode: Work['memory'], engine: RolloutEngine): Work['memory'] {
  const { total = 0, ...parts } = train;
  const state = (parts['weights'] ?? 0) + (parts['optimizer'] ?? 0);
  const rollout = (decode['weights'] ?? 0) + (decode['cache'] ?? 0);
  if (engine === 'server') return { ...parts, total };
  // vLLM keeps its weights and cache while training goes on; the process itself lets both go.
  const together = engine === 'vllm' ? total + rollout : Math.max(total, state + rollout);
  return { ...parts, rollout, total: together };
}
