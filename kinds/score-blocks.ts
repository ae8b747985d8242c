import { forward, tokensCost, tokensRead } from './compute.ts';
import type { Kind } from './kind.ts';
import { choice, integer, list, record, seed, settings } from './setting.ts';

export const scoreBlocksKind: Kind = {
  name: 'score-blocks',
  version: 2,
  summary:
    'Replace-one-block scores: the error of every (layer, expert count) and (layer, window), and a long-context score for windows.',
  example:
    'blocks: { kind: score-blocks, inputs: { model: parent, data: calibration.data, experts: experts.ranking }, with: { metric: activation-mse, expert_counts: [64, 128] } }',
  with: settings(
    {
      metric: choice(
        'activation-mse: error of the layer’s output, relative; hidden-mse: of the final hidden state; kl: divergence of the next-token distributions.',
        ['activation-mse', 'hidden-mse', 'kl'],
        'activation-mse',
      ),
      expert_counts: list(
        'Kept experts to score, beside all.',
        integer('Experts.', { minimum: 1, unit: 'experts' }),
        { minItems: 1, uniqueItems: true },
      ),
      windows: list(
        'Windows to score on full-attention layers, beside full.',
        integer('Window.', { minimum: 1, unit: 'tokens' }),
        {
          default: [128, 8192],
          uniqueItems: true,
        },
      ),
      tokens: integer('Calibration tokens to read; all when absent.', { minimum: 1, unit: 'tokens' }),
      long_context: record(
        'How the long-context score is taken.',
        {
          examples: integer('Examples answered with each replacement.', {
            default: 64,
            minimum: 1,
            unit: 'examples',
          }),
          max_new_tokens: integer('Longest answer.', { default: 16, minimum: 1, unit: 'tokens' }),
        },
        { default: { examples: 64, max_new_tokens: 16 } },
      ),
      seed,
    },
    ['expert_counts'],
  ),
  inputs: {
    model: { description: 'The parent.', types: ['checkpoint'] },
    data: { description: 'Calibration data.', types: ['dataset'] },
    experts: { description: 'Which experts go first.', types: ['ranking'] },
    long_context: { description: 'Examples whose answer lies far back.', types: ['dataset'], optional: true },
  },
  outputs: { scores: 'scores' },
  runner: 'engine',
  deterministic: 'cpu',
  code: { python: ['fretsaw_engine.stages.score_blocks'], typescript: [] },
  estimate: (input) => {
    // Every choice of every layer runs what lies above it: half the model on average.
    const lengthOf = (name: string): number =>
      Array.isArray(input.with[name]) ? input.with[name].length : 0;
    const choices = (input.model?.layers ?? 0) * (lengthOf('expert_counts') + lengthOf('windows') / 2);
    const tokens = tokensRead(input);
    return tokensCost(input, tokens === undefined ? undefined : (tokens * choices) / 2, {
      flopsPerParameter: forward,
      phase: 'dense',
    });
  },
};
