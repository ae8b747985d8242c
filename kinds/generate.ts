import { decodingCost, decodingWork, productOf, rolloutEngine, type Decoding } from './compute.ts';
import { numberIn, type EstimateInput, type Kind } from './kind.ts';
import { effort } from './prepare.ts';
import { rollout } from './rollout.ts';
import { integer, number, seed, settings } from './setting.ts';

export const generateKind: Kind = {
  name: 'generate',
  version: 2,
  summary:
    'A model writes answers to prompts at one effort; they become packed training data that ends in <|return|>.',
  example:
    'answers: { kind: generate, matrix: { effort: [high, medium] }, inputs: { model: parent, prompts: train.data }, with: { max_new_tokens: 96 } }',
  with: settings(
    {
      effort,
      max_new_tokens: integer('Longest answer; one that reaches it is capped and listed.', {
        minimum: 1,
        unit: 'tokens',
      }),
      temperature: number('Sampling temperature; 0 takes the likeliest token.', {
        default: 1,
        minimum: 0,
        maximum: 5,
      }),
      top_p: number('Samples from the likeliest tokens that make up this share.', {
        default: 1,
        exclusiveMinimum: 0,
        maximum: 1,
      }),
      samples_per_prompt: integer('Answers to each prompt.', { default: 1, minimum: 1 }),
      batch_size: integer('Prompts in one batch; part of the key because sampling draws in batch order.', {
        default: 64,
        minimum: 1,
        unit: 'prompts',
      }),
      shard_prompts: integer('Prompts between two snapshots; each of several ranks takes a shard.', {
        default: 256,
        minimum: 1,
        unit: 'prompts',
      }),
      rollout,
      seed,
    },
    ['effort', 'max_new_tokens'],
  ),
  inputs: {
    model: { description: 'The model that answers.', types: ['checkpoint'] },
    prompts: { description: 'The examples whose prompts are answered.', types: ['dataset'] },
  },
  outputs: { data: 'dataset', capped: 'listing' },
  runner: 'engine',
  deterministic: 'cpu',
  code: { python: ['fretsaw_engine.stages.generate'], typescript: [] },
  estimate: (input) => decodingCost(input, tokensOf(input), decodingOf(input)),
  work: (input) => decodingWork(input, tokensOf(input), decodingOf(input)),
};

function tokensOf(input: EstimateInput): number | undefined {
  const tokens = productOf(input, ['samples_per_prompt', 'max_new_tokens']);
  return tokens === undefined || input.data === undefined ? undefined : tokens * input.data.examples;
}

function decodingOf({ with: settings }: EstimateInput): Decoding {
  return {
    outputTokens: numberIn(settings, 'max_new_tokens') ?? 1,
    batch: numberIn(settings, 'batch_size') ?? 1,
    engine: rolloutEngine(settings),
    shortest: 1 / 10,
  };
}
