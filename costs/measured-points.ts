import { Failure } from '../core/errors.ts';
import type { ModelShape } from './config.ts';
import { parseCsv, type CsvRow } from './csv.ts';
import type { MeasuredPoint } from './fit.ts';
import { hardware, hardwareNames } from './hardware.ts';

/**
 * Measured throughputs as a CSV file (RFC 4180), one point a row under a header row. Columns, in any order:
 *
 *     name               what the point is called in messages
 *     config             config.json of the model, relative to the CSV file
 *     hardware           h100-sxm, h200-sxm or b200-sxm
 *     gpus               GPUs in all
 *     tensor_parallel    GPUs of one replica; empty: all
 *     expert_parallel    1 or tensor_parallel: GPUs over which whole experts are spread; empty: 1
 *     input_tokens       prompt length, tokens
 *     output_tokens      answer length, tokens
 *     kv                 number format of the cache: fp8 or bf16
 *     concurrency        requests sent at once to one replica; empty: as many as give most
 *     tokens_per_second  generated tokens a second, all replicas together
 *     uncertainty        how far the true figure may be off, as a share; empty: 0.05
 *
 * Columns that may be left empty may be left out. Any other column is an error.
 */
export const requiredColumns = [
  'name', 'config', 'hardware', 'gpus', 'input_tokens', 'output_tokens', 'kv', 'tokens_per_second',
] as const; // prettier-ignore
export const optionalColumns = [
  'tensor_parallel', 'expert_parallel', 'concurrency', 'uncertainty',
] as const; // prettier-ignore

const defaultUncertainty = 0.05;

/** Reads all points, or fails with BAD_INPUT that says every fault with its line. `readModel` is given `config`. */
export function parseMeasuredPoints(
  text: string,
  path: string,
  readModel: (config: string) => ModelShape,
): MeasuredPoint[] {
  const rows = parseCsv(text, path, { required: requiredColumns, optional: optionalColumns });
  const faults: string[] = [];
  const points = rows.flatMap((row) => {
    try {
      return [readPoint(row, readModel)];
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      faults.push(`${path}:${row.line}: ${error.message}`);
      return [];
    }
  });
  if (rows.length === 0) faults.push(`${path}: expected at least one point, found none`);
  if (faults.length > 0) throw new Failure('BAD_INPUT', faults.join('\n'));
  return points;
}

function readPoint({ cells }: CsvRow, readModel: (config: string) => ModelShape): MeasuredPoint {
  const textOf = (column: string): string => cells.get(column) ?? '';
  const kv = oneOf('kv', textOf('kv'), ['fp8', 'bf16'] as const);
  const gpus = whole('gpus', textOf('gpus'));
  const tensorParallel =
    textOf('tensor_parallel') === '' ? gpus : whole('tensor_parallel', textOf('tensor_parallel'));
  const expertParallel =
    textOf('expert_parallel') === '' ? 1 : whole('expert_parallel', textOf('expert_parallel'));
  if (gpus % tensorParallel !== 0)
    wrong('tensor_parallel', `a divisor of gpus ${gpus}`, String(tensorParallel));
  if (expertParallel !== 1 && expertParallel !== tensorParallel)
    wrong('expert_parallel', `1 or tensor_parallel ${tensorParallel}`, String(expertParallel));
  return {
    name: textOf('name'),
    model: readModel(textOf('config')),
    serving: {
      hardware: hardware[oneOf('hardware', textOf('hardware'), hardwareNames)],
      gpus: tensorParallel,
      expertParallel,
      replicas: gpus / tensorParallel,
      inputTokens: whole('input_tokens', textOf('input_tokens')),
      outputTokens: whole('output_tokens', textOf('output_tokens')),
      kvElementBytes: kv === 'fp8' ? 1 : 2,
    },
    concurrency: textOf('concurrency') === '' ? undefined : whole('concurrency', textOf('concurrency')),
    tokensPerSecond: positive('tokens_per_second', textOf('tokens_per_second')),
    uncertainty:
      textOf('uncertainty') === '' ? defaultUncertainty : positive('uncertainty', textOf('uncertainty')),
  };
}

function whole(column: string, text: string): number {
  const value = positive(column, text);
  return Number.isSafeInteger(value) ? value : wrong(column, 'a whole number', text);
}

function positive(column: string, text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  return Number.isFinite(value) && value > 0 ? value : wrong(column, 'a number above 0', text);
}

function oneOf<const T extends string>(column: string, text: string, choices: readonly T[]): T {
  return choices.find((choice) => choice === text) ?? wrong(column, choices.join(' or '), text);
}

function wrong(column: string, expected: string, found: string): never {
  throw new Failure('BAD_INPUT', `${column}: expected ${expected}, found ${JSON.stringify(found)}`);
}
