import type { ReadAt } from './cut-file.ts';

/** A tensor as a safetensors header names it; `start` and `end` are positions in the file. */
export interface TensorEntry {
  name: string;
  dtype: string;
  shape: number[];
  start: number;
  end: number;
}

export interface TensorFile {
  /** Where the header (its length, its JSON and its padding) ends. */
  dataStart: number;
  /** By position. */
  tensors: TensorEntry[];
}

/** The format's own limit (https://huggingface.co/docs/safetensors). */
const maxHeaderBytes = 100_000_000;

/**
 * The header of a safetensors file: 8 bytes of its length, little-endian, and that much JSON. Undefined
 * when this is not one: the store keeps any bytes, so that is no error.
 */
export function readTensorFile(readAt: ReadAt, sizeBytes: number): TensorFile | undefined {
  if (sizeBytes < 8) return undefined;
  const length = Number(readAt(0, 8).readBigUInt64LE());
  if (length < 2 || length > maxHeaderBytes || 8 + length > sizeBytes) return undefined;
  return parseTensorFile(readAt(8, length), sizeBytes);
}

/** The same from the header's JSON. */
export function parseTensorFile(json: Buffer, sizeBytes: number): TensorFile | undefined {
  const header = parseObject(json.toString('utf8'));
  if (header === undefined) return undefined;
  const dataStart = 8 + json.length;
  const tensors: TensorEntry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const tensor = parseTensor(name, value, dataStart);
    if (tensor === undefined || tensor.end > sizeBytes) return undefined;
    tensors.push(tensor);
  }
  return { dataStart, tensors: tensors.sort((a, b) => a.start - b.start || a.end - b.end) };
}

function parseTensor(name: string, value: unknown, dataStart: number): TensorEntry | undefined {
  if (!isObject(value)) return undefined;
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !isNumbers(shape) || !isNumbers(offsets)) return undefined;
  const [start, end] = offsets;
  if (start === undefined || end === undefined || end < start) return undefined;
  return { name, dtype, shape, start: dataStart + start, end: dataStart + end };
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
