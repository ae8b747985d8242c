import { forward, rowTokens, scoringWork, tokensCost, tokensRead, workCost } from './compute.ts';
import type { EstimateInput, Kind, Work } from './kind.ts';
import { choice, integer, seed, settings } from './setting.ts';

export const scoreExpertsKind: Kind = {
  name: 'score-experts',
  version: 2,
  summary: 'The contribution of every expert of every layer, in one pass over calibration data.',
  example: 'experts: { kind: score-experts, inputs: { model: parent, data: calibration.data } }',
  with: settings({
    metric: choice(
      'reap: mean of gate weight times output norm over the routed tokens; drop-out-error: output error when the expert alone is dropped.',
      ['reap', 'drop-out-error'],
      'reap',
    ),
    tokens: integer('Calibration tokens to read; all when absent.', { minimum: 1, unit: 'tokens' }),
    min_tokens_per_expert: integer('Fewer routed tokens are no measurement of an expert, and an error.', {
      default: 32,
      minimum: 0,
      unit: 'tokens',
    }),
    seed,
  }),
  inputs: {
    model: { description: 'The parent.', types: ['checkpoint'] },
    data: { description: 'Calibration data.', types: ['dataset'] },
  },
  outputs: { ranking: 'ranking' },
  runner: 'engine',
  deterministic: 'cpu',
  code: { python: ['fretsaw_engine.stages.score_experts'], typescript: [] },
  estimate: (input) =>
    workCost(work(input)) ??
    tokensCost(input, tokensRead(input), { flopsPerParameter: forward, phase: 'dense' }),
  work,
};

/** One pass with one expert a token more than the model uses. */
function work(input: EstimateInput): Work | undefined {
  return scoringWork(input, tokensRead(input), { passes: 1.25, sequenceTokens: rowTokens(input) });
}
