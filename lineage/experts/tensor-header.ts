import { Failure } from '../../core/errors.ts';

export interface HeaderEntry {
  dtype: string;
  shape: readonly number[];
  /** From the start of the file. */
  offset: number;
  sizeBytes: number;
}

interface Of {
  file: string;
  /** Where the data begins. */
  start: number;
  size: number;
}

/** The header of a safetensors file: BAD_INPUT when an entry points outside the file or is none. */
export function parseHeader(text: string, of: Of): ReadonlyMap<string, HeaderEntry> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new Failure('BAD_INPUT', `${of.file}: its header is not JSON`, { cause });
  }
  if (typeof document !== 'object' || document === null)
    throw new Failure('BAD_INPUT', `${of.file}: its header is no object`);
  const entries = new Map<string, HeaderEntry>();
  for (const [name, value] of Object.entries(document as Record<string, unknown>)) {
    if (name !== '__metadata__') entries.set(name, parseEntry(name, value, of));
  }
  return entries;
}

function parseEntry(name: string, value: unknown, { file, start, size }: Of): HeaderEntry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
  const bad = (what: string): Failure => new Failure('BAD_INPUT', `${file}: ${name}: ${what}`);
  if (typeof dtype !== 'string' || !isNaturals(shape) || !isNaturals(offsets))
    throw bad('expected dtype, shape and data_offsets');
  const [from, to, ...more] = offsets;
  if (from === undefined || to === undefined || more.length > 0 || from > to || to > size - start)
    throw bad(`data_offsets ${offsets.join(' to ')} in ${size - start} bytes`);
  const elements = shape.reduce((product, length) => product * length, 1);
  if (elements > 0 && (to - from) % elements !== 0)
    throw bad(`${to - from} bytes for shape [${shape.join(', ')}]`);
  return { dtype, shape, offset: start + from, sizeBytes: to - from };
}

function isNaturals(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && Number(each) >= 0);
}
