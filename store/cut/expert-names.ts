/**
 * Whose bytes a tensor holds, told by its name alone. Shapes say nothing: a [64, 2880] may be 64 experts
 * or 64 heads.
 */
export type TensorOwner =
  /** The first axis counts the layer's experts (openai/gpt-oss, nvidia/gpt-oss-puzzle, transformers' GptOss). */
  | { kind: 'stacked'; layer: number }
  /** One expert's own tensor (`...experts.<e>.<projection>`: Mixtral, Qwen-MoE, DeepSeek). */
  | { kind: 'expert'; layer: number; expert: number }
  | { kind: 'layer'; layer: number }
  | { kind: 'model' };

const stacked =
  /(?:^|\.)layers\.(\d+)\.mlp\.(?:experts\.(?:gate_up_proj|down_proj)(?:_blocks|_scales|_bias)?|router\.(?:weight|bias))$/;
const ofOneExpert = /(?:^|\.)layers\.(\d+)\.(?:[a-z_]+\.)*experts\.(\d+)\./;
const ofOneLayer = /(?:^|\.)layers\.(\d+)\./;

export function tensorOwner(name: string): TensorOwner {
  const inStack = stacked.exec(name);
  if (inStack !== null) return { kind: 'stacked', layer: Number(inStack[1]) };
  const inExpert = ofOneExpert.exec(name);
  if (inExpert !== null) return { kind: 'expert', layer: Number(inExpert[1]), expert: Number(inExpert[2]) };
  const inLayer = ofOneLayer.exec(name);
  return inLayer === null ? { kind: 'model' } : { kind: 'layer', layer: Number(inLayer[1]) };
}
