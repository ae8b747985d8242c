import { Failure } from '../core/errors.ts';
import { JsonFields } from './json-fields.ts';
import type { Decoding } from './model-runner.ts';

/** `with` of the kind `evaluate`. */
export interface EvaluateSettings {
  efforts: string[];
  /** By effort: the cap on what a model may write, in tokens. */
  maxNewTokens: ReadonlyMap<string, number>;
  batchSize: number;
  runner: 'onnx' | 'endpoint';
  /** Answers to each question, where its task does not say: avg@k and maj@k. */
  samples: number;
  /** Greedy at temperature 0; the seed matters only above it. */
  decoding: Decoding;
}

const defaultEfforts = ['low', 'medium', 'high'];
const defaultCaps: Readonly<Record<string, number>> = { low: 32, medium: 64, high: 128 };

export function readEvaluateSettings(raw: unknown): EvaluateSettings {
  const fields = JsonFields.of(raw, 'evaluate').only([
    'efforts',
    'max_new_tokens',
    'batch_size',
    'seed',
    'temperature',
    'runner',
    'samples',
    'judge',
  ]);
  const efforts = fields.has('efforts') ? fields.texts('efforts') : defaultEfforts;
  if (new Set(efforts).size !== efforts.length || efforts.length === 0) {
    throw new Failure(
      'BAD_INPUT',
      `evaluate: efforts: expected different ones, found ${efforts.join(', ') || 'none'}`,
    );
  }
  const seed = fields.has('seed') ? fields.integer('seed', 0) : 1;
  const temperature = fields.has('temperature') ? fields.number('temperature') : 0;
  if (temperature < 0) throw new Failure('BAD_INPUT', `evaluate: temperature is ${temperature}`);
  return {
    efforts,
    runner: readRunner(fields),
    samples: fields.has('samples') ? fields.integer('samples', 1) : 1,
    maxNewTokens: readCaps(fields, efforts),
    batchSize: fields.has('batch_size') ? fields.integer('batch_size', 1) : 32,
    decoding: temperature === 0 ? { kind: 'greedy' } : { kind: 'sampled', temperature, seed },
  };
}

function readCaps(fields: JsonFields, efforts: readonly string[]): Map<string, number> {
  const given = fields.has('max_new_tokens') ? fields.record('max_new_tokens') : undefined;
  return new Map(
    efforts.map((effort) => {
      if (given?.has(effort) === true) return [effort, given.integer(effort, 1)];
      const cap = defaultCaps[effort];
      if (cap === undefined)
        throw new Failure('BAD_INPUT', `evaluate: max_new_tokens: no cap for effort ${effort}`);
      return [effort, cap];
    }),
  );
}

function readRunner(fields: JsonFields): EvaluateSettings['runner'] {
  const runner = fields.has('runner') ? fields.text('runner') : 'onnx';
  if (runner === 'onnx' || runner === 'endpoint') return runner;
  throw new Failure('BAD_INPUT', `evaluate: runner: expected onnx or endpoint, found ${runner}`);
}
