import type { Json } from '../core/canonical-json.ts';
import { isDigest, type Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';

/** Turns an outside value into a T or throws CORRUPT with the place. */
export type Read<T> = (value: unknown, where: string) => T;

type Shape = Readonly<Record<string, Read<unknown>>>;
type Values<S extends Shape> = { [K in keyof S]: S[K] extends Read<infer T> ? T : never };

export const readText: Read<string> = (value, where) =>
  typeof value === 'string' ? value : fail(where, 'text', value);

export const readNumber: Read<number> = (value, where) =>
  typeof value === 'number' ? value : fail(where, 'a number', value);

/** Attempts, steps, generations, sizes. */
export const readCount: Read<number> = (value, where) =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
    ? value
    : fail(where, 'a whole number', value);

export const readDigest: Read<Digest> = (value, where) =>
  typeof value === 'string' && isDigest(value) ? value : fail(where, 'sha256:<64 hex digits>', value);

/** An instant as `Date.toISOString` writes it. */
export const readInstant: Read<string> = (value, where) =>
  typeof value === 'string' && !Number.isNaN(Date.parse(value))
    ? value
    : fail(where, 'an ISO 8601 instant', value);

export const readJson: Read<Json> = (value, where) => {
  if (
    value === null ||
    typeof value === 'boolean' ||
    typeof value === 'number' ||
    typeof value === 'string'
  ) {
    return value;
  }
  return Array.isArray(value) ? readList(readJson)(value, where) : readMap(readJson)(value, where);
};

export function readOneOf<const T extends string>(choices: readonly T[]): Read<T> {
  return (value, where) =>
    choices.find((choice) => choice === value) ?? fail(where, `one of ${choices.join(', ')}`, value);
}

export function readList<T>(item: Read<T>): Read<T[]> {
  return (value, where) =>
    Array.isArray(value)
      ? value.map((each: unknown, index) => item(each, `${where}[${index}]`))
      : fail(where, 'a list', value);
}

export function readMap<T>(item: Read<T>): Read<Record<string, T>> {
  return (value, where) =>
    Object.fromEntries(
      Object.entries(plainObject(value, where)).map(([name, each]) => [name, item(each, `${where}.${name}`)]),
    );
}

/** Exactly these members: an absent or unknown one is an error. */
export function readObject<S extends Shape>(shape: S): Read<Values<S>> {
  // Every member was just read by the reader of its own type.
  return (value, where) => readMembers(shape, new Set(), value, where) as Values<S>;
}

/** The same, and members that may be absent. */
export function readPartObject<S extends Shape, O extends Shape>(
  shape: S,
  optional: O,
): Read<Values<S> & Partial<Values<O>>> {
  const all = { ...shape, ...optional };
  const absentable = new Set(Object.keys(optional));
  return (value, where) => readMembers(all, absentable, value, where) as Values<S> & Partial<Values<O>>;
}

function readMembers(
  shape: Shape,
  absentable: ReadonlySet<string>,
  ...[value, where]: Parameters<Read<unknown>>
): object {
  const object = plainObject(value, where);
  const unknown = Object.keys(object).filter((name) => !Object.hasOwn(shape, name));
  if (unknown.length > 0) throw new Failure('CORRUPT', `${where}: unknown keys ${unknown.join(', ')}`);
  const members: [string, unknown][] = [];
  for (const [name, read] of Object.entries(shape)) {
    if (object[name] === undefined && absentable.has(name)) continue;
    members.push([name, read(object[name], `${where}.${name}`)]);
  }
  return Object.fromEntries(members);
}

export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Failure('CORRUPT', `${where}: not JSON`, { cause });
  }
}

function plainObject(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (!isPlainObject(value)) return fail(where, 'an object', value);
  return value;
}

function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fail(where: string, expected: string, found: unknown): never {
  const shown = found === undefined ? 'nothing' : JSON.stringify(found).slice(0, 80);
  throw new Failure('CORRUPT', `${where}: expected ${expected}, found ${shown}`);
}
