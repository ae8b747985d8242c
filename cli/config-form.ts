import { Failure } from '../core/errors.ts';

/** `puzzle` is the published form, with block_configs; `per-layer` is the one of transformers 5. */
export const configForms = ['puzzle', 'per-layer'] as const;
export type ConfigForm = (typeof configForms)[number];

type Config = Record<string, unknown>;

/**
 * A gpt_oss_puzzle config.json as a gpt_oss one with transformers' sparse `per_layer_config`: for
 * each layer the attributes in which it differs from the global ones. No tensor changes.
 * @see https://huggingface.co/docs/transformers/main_classes/configuration (per_layer_config)
 */
export function perLayerConfig(text: string): string {
  const config = parseConfig(text);
  const blocks = config['block_configs'];
  if (config['model_type'] !== 'gpt_oss_puzzle' || !Array.isArray(blocks)) {
    throw new Failure(
      'BAD_INPUT',
      `config.json: expected model_type gpt_oss_puzzle with block_configs, found ${String(config['model_type'])}`,
    );
  }
  const overrides: Record<string, Config> = {};
  blocks.forEach((block: unknown, layer) => {
    if (!isConfig(block))
      throw new Failure('BAD_INPUT', `config.json: block_configs[${layer}] is not an object`);
    const differing = Object.entries(block).filter(([name, value]) => config[name] !== value);
    if (differing.length > 0) overrides[String(layer)] = Object.fromEntries(differing);
  });
  const kept = Object.entries(config).filter(([name]) => name !== 'block_configs');
  const changed = {
    ...Object.fromEntries(kept),
    architectures: ['GptOssForCausalLM'],
    model_type: 'gpt_oss',
    per_layer_config: overrides,
  };
  return `${JSON.stringify(changed, null, 2)}\n`;
}

function parseConfig(text: string): Config {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (cause) {
    throw new Failure('BAD_INPUT', 'config.json: not JSON', { cause });
  }
  if (!isConfig(config)) throw new Failure('BAD_INPUT', 'config.json: expected an object');
  return config;
}

function isConfig(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
