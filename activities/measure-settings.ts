import { Failure } from '../core/errors.ts';
import { JsonFields } from '../evaluation/json-fields.ts';
import type { LatencyBounds } from '../evaluation/measure/sweep.ts';

/** `with` of the kind `measure`. */
export interface MeasureSettings {
  runner: 'onnx' | 'endpoint';
  client: 'auto' | 'closed-loop' | 'vllm';
  inputTokens: number;
  outputTokens: number;
  concurrency: number[];
  tensorParallel: number[];
  hasExpertParallel: boolean;
  kv: string;
  /** As the cost model calls it; undefined for hardware that it does not know. */
  hardware: string | undefined;
  rounds: number;
  repeats: number;
  bounds: LatencyBounds;
}

export function readMeasureSettings(raw: unknown): MeasureSettings {
  const fields = JsonFields.of(raw, 'measure').only([
    ...['runner', 'client', 'input_tokens', 'output_tokens', 'concurrency', 'rounds', 'repeats'],
    ...['tensor_parallel', 'expert_parallel', 'kv', 'hardware', 'itl_p99_ms', 'ttft_p99_ms'],
  ]);
  const bound = (name: string): number | undefined => (fields.has(name) ? fields.number(name) : undefined);
  const settings: MeasureSettings = {
    runner: oneOf(fields, 'runner', ['onnx', 'endpoint']),
    client: oneOf(fields, 'client', ['auto', 'closed-loop', 'vllm']),
    inputTokens: fields.integer('input_tokens', 1),
    outputTokens: fields.integer('output_tokens', 2),
    concurrency: fields.integers('concurrency'),
    tensorParallel: fields.integers('tensor_parallel'),
    hasExpertParallel: fields.boolean('expert_parallel'),
    kv: fields.text('kv'),
    hardware: fields.has('hardware') ? fields.text('hardware') : undefined,
    rounds: fields.integer('rounds', 1),
    repeats: fields.integer('repeats', 1),
    bounds: { itlP99Ms: bound('itl_p99_ms'), ttftP99Ms: bound('ttft_p99_ms') },
  };
  if (settings.runner === 'onnx' && settings.tensorParallel.join() !== '1')
    throw new Failure('BAD_INPUT', 'tensor_parallel: runner onnx is one process: only 1');
  if (settings.runner === 'onnx' && settings.client === 'vllm')
    throw new Failure('BAD_INPUT', 'client: vllm asks /v1/completions, which runner onnx does not serve');
  return settings;
}

function oneOf<const T extends string>(fields: JsonFields, name: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === fields.text(name));
  if (found !== undefined) return found;
  throw new Failure('BAD_INPUT', `measure: ${name}: expected ${choices.join(' or ')}`);
}
