import { readFile } from 'node:fs/promises';
import { parse as parseCsv } from 'csv-parse/sync';
import { parquetReadObjects } from 'hyparquet';
import { Failure } from '../../core/errors.ts';
import { JsonFields } from '../json-fields.ts';

/** The rows of a published file: .jsonl, .json (a list), .csv with a header, or .parquet. */
export async function readRows(path: string): Promise<JsonFields[]> {
  const values = await readValues(path);
  if (values.length === 0) throw new Failure('BAD_INPUT', `${path}: no rows`);
  return values.map((value, index) => JsonFields.of(value, `${path}:${index + 1}`));
}

async function readValues(path: string): Promise<readonly unknown[]> {
  const ending = path.slice(path.lastIndexOf('.'));
  try {
    switch (ending) {
      case '.jsonl':
        return (await readFile(path, 'utf8'))
          .split('\n')
          .filter((line) => line.trim() !== '')
          .map((line): unknown => JSON.parse(line));
      case '.json':
        return toList(JSON.parse(await readFile(path, 'utf8')));
      case '.csv':
        return readCsv(await readFile(path, 'utf8'));
      case '.parquet':
        return await readParquet(path);
      default:
        break;
    }
  } catch (error) {
    throw new Failure('BAD_INPUT', `${path}: not ${ending.slice(1)}: ${String(error)}`, { cause: error });
  }
  throw new Failure('BAD_INPUT', `${path}: expected .jsonl, .json, .csv or .parquet`);
}

function readCsv(text: string): unknown[] {
  return toList(parseCsv(text, { columns: true, bom: true, skip_empty_lines: true }));
}

function toList(value: unknown): unknown[] {
  const list: unknown[] = [];
  return Array.isArray(value) ? list.concat(value) : [value];
}

async function readParquet(path: string): Promise<unknown[]> {
  const bytes = await readFile(path);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const rows = await parquetReadObjects({ file });
  return rows.map((row) => plainNumbers(row));
}

/** Parquet's 64-bit integers as numbers: question ids and the like. */
function plainNumbers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plainNumbers);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || value instanceof Date)
    return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plainNumbers(member)]));
}
