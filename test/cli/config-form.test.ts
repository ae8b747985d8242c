import { describe, expect, it } from 'vitest';
import { perLayerConfig } from '../../cli/config-form.ts';

const child = {
  architectures: ['GptOssPuzzleForCausalLM'],
  model_type: 'gpt_oss_puzzle',
  num_hidden_layers: 3,
  num_local_experts: 128,
  sliding_window: 128,
  layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'],
  block_configs: [
    { num_local_experts: 128, sliding_window: 128 },
    { num_local_experts: 64, sliding_window: null },
    { num_local_experts: 128, sliding_window: 8192 },
  ],
};

describe('the per-layer form of config.json', () => {
  it('says of each layer only what differs from the global attributes, and keeps all else', () => {
    const written = JSON.parse(perLayerConfig(JSON.stringify(child))) as Record<string, unknown>;
    const rest = Object.entries(child).filter(([name]) => name !== 'block_configs');
    expect(written).toEqual({
      ...Object.fromEntries(rest),
      architectures: ['GptOssForCausalLM'],
      model_type: 'gpt_oss',
      per_layer_config: {
        '1': { num_local_experts: 64, sliding_window: null },
        '2': { sliding_window: 8192 },
      },
    });
  });

  it.each<[string, object]>([
    ['a plain gpt_oss', { model_type: 'gpt_oss' }],
    ['a puzzle without blocks', { model_type: 'gpt_oss_puzzle' }],
    ['blocks that are no objects', { ...child, block_configs: [3] }],
  ])('is refused of %s', (_, config) => {
    expect(() => perLayerConfig(JSON.stringify(config))).toThrow('config.json: ');
  });
});
