import { forward, rowTokens, scoringWork, tokensCost, tokensRead, workCost } from './compute.ts';
import type { EstimateInput, Kind, Work } from './kind.ts';
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
  estimate: (input) =>
    workCost(work(input)) ??
    tokensCost(input, tokensRead(input), {
      flopsPerParameter: forward * passesOf(input),
      phase: 'dense',
    }),
  work,
};

function work(input: EstimateInput): Work | undefined {
  return scoringWork(input, tokensRead(input), { passes: passesOf(input), sequenceTokens: rowTokens(input) });
}

/**
 * Forward passes over the data. Kept sets are nested, so all counts of a layer together meet about three and a half
 * times the experts of one; a window is one more layer on every second. Measured at the end of the model, every
 * choice of every layer runs what lies above it too: half the model on average.
 */
function passesOf(input: EstimateInput): number {
  const lengthOf = (name: string): number => (Array.isArray(input.with[name]) ? input.with[name].length : 0);
  const [counts, windows] = [lengthOf('expert_counts'), lengthOf('windows') / 2];
  const local = 1 + Math.min(counts, 3.5) + windows;
  if (input.with['metric'] === 'activation-mse') return local;
  return 1 + local + ((input.model?.layers ?? 1) * (counts + windows)) / 2;
}
