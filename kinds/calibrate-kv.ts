import { copyCost, forward, tokensCost, tokensRead } from './compute.ts';
import { numberIn, type Kind } from './kind.ts';
import { choice, flag, integer, number, settings } from './setting.ts';

export const calibrateKvKind: Kind = {
  name: 'calibrate-kv',
  version: 2,
  summary: 'FP8 (e4m3) KV cache: one k and one v scale a layer, read back after writing.',
  example: 'fp8: { kind: calibrate-kv, inputs: { model: average.checkpoint, data: calibration.data } }',
  with: settings({
    method: choice(
      'max: largest magnitude seen; percentile: of the magnitudes; mse: least squared error.',
      ['max', 'percentile', 'mse'],
      'max',
    ),
    percentile: number('Used by method percentile.', {
      default: 99.99,
      exclusiveMinimum: 0,
      maximum: 100,
      unit: '%',
    }),
    skip_windowed: flag('Leave the cache of windowed layers in bf16.', false),
    tokens: integer('Calibration tokens to read; all when absent.', { minimum: 1, unit: 'tokens' }),
    scale: number('Writes this scale everywhere instead of calibrating: the control of the A/B.', {
      exclusiveMinimum: 0,
    }),
  }),
  inputs: {
    model: { description: 'The checkpoint to calibrate.', types: ['checkpoint'] },
    data: { description: 'Calibration data.', types: ['dataset'] },
  },
  outputs: { checkpoint: 'checkpoint', history: 'listing' },
  runner: 'engine',
  deterministic: 'cpu',
  code: { python: ['fretsaw_engine.stages.calibrate_kv'], typescript: [] },
  /** A fixed scale reads no data: the checkpoint is copied. */
  estimate: (input) =>
    numberIn(input.with, 'scale') === undefined
      ? tokensCost(input, tokensRead(input), { flopsPerParameter: forward, phase: 'dense' })
      : copyCost(2)(input),
};
