/**
 * RFC 8785 (JSON Canonicalization Scheme): keys sorted by UTF-16 code units, numbers as ECMAScript
 * prints them, no white space. What it cannot say the same way twice is an error: undefined, NaN,
 * infinities, -0, lone surrogates, functions, class instances.
 *
 * @see https://www.rfc-editor.org/rfc/rfc8785
 */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export function canonicalJson(value: unknown): string {
  return write(value, '$');
}

function write(value: unknown, path: string): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return writeString(value, path);
  if (typeof value === 'number') return writeNumber(value, path);
  if (Array.isArray(value)) return writeArray(value, path);
  if (typeof value === 'object') return writeObject(value, path);
  throw new TypeError(`${path}: ${typeof value} has no canonical JSON`);
}

function writeString(value: string, path: string): string {
  if (!value.isWellFormed()) throw new TypeError(`${path}: lone surrogate has no canonical JSON`);
  return JSON.stringify(value);
}

function writeNumber(value: number, path: string): string {
  if (!Number.isFinite(value) || Object.is(value, -0)) {
    throw new TypeError(`${path}: ${Object.is(value, -0) ? '-0' : String(value)} has no canonical JSON`);
  }
  return JSON.stringify(value);
}

function writeArray(value: unknown[], path: string): string {
  const items: string[] = [];
  for (let i = 0; i < value.length; i++) items.push(write(value[i], `${path}[${i}]`));
  return `[${items.join(',')}]`;
}

function writeObject(value: object, path: string): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new TypeError(`${path}: only plain objects have canonical JSON`);
  }
  const members = Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, member]) => `${writeString(key, path)}:${write(member, `${path}.${key}`)}`);
  return `{${members.join(',')}}`;
}
