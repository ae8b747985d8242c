import { describe, expect, it } from 'vitest';
import type { Json } from '../../core/canonical-json.ts';
import { parseModelConfig, type ModelShape } from '../../costs/config.ts';
import { readConfig, parent, child } from './published.ts';
import { gibibyte, kvBytes, modelSize } from '../../costs/geometry.ts';

function without(key: string): Record<string, Json> {
  return Object.fromEntries(Object.entries(readConfig('gpt-oss-120b')).filter(([name]) => name !== key));
}
const parse = (value: Json, path = 'config.json'): ModelShape => parseModelConfig({ value, path });

describe('geometry from a config.json alone', () => {
  it('gives the published size of gpt-oss-120b', () => {
    const size = modelSize(parent);
    expect((size.parameters / 1e9).toFixed(2)).toBe('116.83');
    expect((size.bytes / gibibyte).toFixed(2)).toBe('60.77');
    expect((size.activeParameters / 1e9).toFixed(2)).toBe('5.13');
  });

  it('gives the published size of the released child', () => {
    const size = modelSize(child);
    expect((size.parameters / 1e9).toFixed(2)).toBe('88.15');
    expect((size.bytes / gibibyte).toFixed(2)).toBe('46.56');
    expect((size.activeParameters / 1e9).toFixed(2)).toBe('5.13');
    expect(size.experts / modelSize(parent).experts).toBe(0.75);
    expect(size.fullAttentionLayers).toBe(10);
  });

  it('keeps .584 of the KV bytes at 128K', () => {
    expect((kvBytes(child, 131072, 2) / kvBytes(parent, 131072, 2)).toFixed(3)).toBe('0.584');
    expect(kvBytes(child, 131072, 1) * 2).toBe(kvBytes(child, 131072, 2));
  });

  it('alternates layers, a sliding one first, when layer_types is absent', () => {
    expect(parse(without('layer_types')).layers).toEqual(parent.layers);
  });

  it('counts unquantised experts at the dtype of the rest', () => {
    const plain = modelSize(parse(without('quantization_config')));
    expect(plain.bytes).toBe(plain.parameters * 2);
  });

  it.each([
    [{ head_dim: null }, 'config.json.head_dim: expected a number, found null'],
    [{ model_type: 'llama' }, 'model_type: expected gpt_oss or gpt_oss_puzzle, found "llama"'],
    [{ layer_types: ['full_attention'] }, 'layer_types: expected 36 entries, one a layer, found 1'],
    [
      { num_local_experts: 2 },
      'expected at least 4 experts in layer 0, as many as a token is routed to, found 2',
    ],
    [{ quantization_config: { quant_method: 'awq' } }, 'expected mxfp4 or fp8, found "awq"'],
    [{ torch_dtype: 'int3' }, 'expected float32 or bfloat16 or float16 or float8_e4m3fn, found "int3"'],
  ])('refuses %j and says where', (change, message) => {
    expect(() => parse({ ...readConfig('gpt-oss-120b'), ...change })).toThrow(message);
  });

  it('refuses a block window that contradicts its layer type', () => {
    const config = readConfig('gpt-oss-puzzle-88b');
    const types = [...(config['layer_types'] as string[])];
    types[0] = 'full_attention';
    expect(() => parse({ ...config, layer_types: types })).toThrow(
      'block_configs[0].sliding_window: expected a window that agrees with layer_types full_attention, found 128',
    );
  });
});
