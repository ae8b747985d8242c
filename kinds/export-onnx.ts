import { copyCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { choice, integer, number, record, seed, settings } from './setting.ts';

export const exportOnnxKind: Kind = {
  name: 'export-onnx',
  version: 1,
  summary: 'The heterogeneous model as ONNX with a KV cache; its logits are checked against PyTorch.',
  example: 'onnx: { kind: export-onnx, inputs: { model: fp8.checkpoint }, with: { kv: fp8 } }',
  with: settings({
    kv: choice(
      'float: as computed; fp8: through QuantizeLinear and DequantizeLinear with the checkpoint’s scales.',
      ['float', 'fp8'],
      'float',
    ),
    check: record(
      'How the export is compared with PyTorch.',
      {
        prompts: integer('Sequences compared.', { default: 4, minimum: 1, unit: 'sequences' }),
        tokens: integer('Tokens of a sequence.', { default: 40, minimum: 2, unit: 'tokens' }),
        tolerance: number('Largest difference that passes, as a share of the greatest logit.', {
          default: 1e-3,
          exclusiveMinimum: 0,
        }),
        seed,
      },
      { default: { prompts: 4, tokens: 40, tolerance: 1e-3, seed: 1 } },
    ),
  }),
  inputs: { model: { description: 'The checkpoint to export.', types: ['checkpoint'] } },
  outputs: { onnx: 'onnx' },
  runner: 'engine',
  deterministic: 'cpu',
  code: { python: ['fretsaw_engine.stages.export_onnx'], typescript: [] },
  estimate: copyCost(4),
};
