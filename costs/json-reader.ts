import type { Json } from '../core/canonical-json.ts';
import { Failure } from '../core/errors.ts';

/** A value of a parsed document and the path that names it in messages. */
export interface Place {
  value: Json | undefined;
  path: string;
}

/** Reads one place into a typed value, or fails with BAD_INPUT that says where. */
export type Read<T> = (place: Place) => T;

export function parseJson(text: string, path: string): Place {
  try {
    return { value: JSON.parse(text) as Json, path };
  } catch (error) {
    throw new Failure(
      'BAD_INPUT',
      `${path}: not JSON: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

export function field(place: Place, name: string): Place {
  return { value: objectOf(place)[name], path: place.path === '' ? name : `${place.path}.${name}` };
}

export function isAbsent(place: Place): boolean {
  return place.value === undefined;
}

export function optional<T>(place: Place, read: Read<T>): T | undefined {
  return isAbsent(place) ? undefined : read(place);
}

export function withDefault<T>(place: Place, read: Read<T>, absent: T): T {
  return isAbsent(place) ? absent : read(place);
}

export function number(place: Place): number {
  if (typeof place.value === 'number') return place.value;
  return wrong(place, 'a number');
}

export function numberFrom(least: number, most = Infinity): Read<number> {
  return (place) => {
    const value = number(place);
    if (value >= least && value <= most) return value;
    return wrong(place, most === Infinity ? `at least ${least}` : `from ${least} to ${most}`);
  };
}

export function integerFrom(least: number): Read<number> {
  return (place) => {
    const value = number(place);
    if (Number.isSafeInteger(value) && value >= least) return value;
    return wrong(place, `a whole number, ${least} or more`);
  };
}

export function orNull<T>(read: Read<T>): Read<T | null> {
  return (place) => (place.value === null ? null : read(place));
}

export function text(place: Place): string {
  if (typeof place.value === 'string') return place.value;
  return wrong(place, 'text');
}

export function flag(place: Place): boolean {
  if (typeof place.value === 'boolean') return place.value;
  return wrong(place, 'true or false');
}

export function oneOf<const T extends string>(choices: readonly T[]): Read<T> {
  return (place) => {
    const found = choices.find((choice) => choice === place.value);
    return found ?? wrong(place, choices.join(' or '));
  };
}

export function list<T>(read: Read<T>): Read<T[]> {
  return (place) => {
    if (!isList(place.value)) return wrong(place, 'a list');
    return place.value.map((value, index) => read({ value, path: `${place.path}[${index}]` }));
  };
}

/** The members of an object in the order of their keys' code units. */
export function mapOf<T>(read: Read<T>): Read<Record<string, T>> {
  return (place) => {
    const names = Object.keys(objectOf(place)).sort();
    return Object.fromEntries(names.map((name) => [name, read(field(place, name))]));
  };
}

export function onlyKeys(place: Place, known: readonly string[]): void {
  const unknown = Object.keys(objectOf(place)).filter((name) => !known.includes(name));
  if (unknown.length > 0) wrong(place, `only ${known.join(', ')}`, `unknown ${unknown.join(', ')}`);
}

export function expectSchema(place: Place, schema: string): void {
  const found = field(place, 'schema');
  if (found.value !== schema) wrong(found, schema);
}

export function wrong(place: Place, expected: string, found = shown(place.value)): never {
  throw new Failure('BAD_INPUT', `${place.path}: expected ${expected}, found ${found}`);
}

function shown(value: Json | undefined): string {
  if (value === undefined) return 'nothing';
  const json = JSON.stringify(value);
  return json.length > 80 ? `${json.slice(0, 77)}...` : json;
}

function objectOf(place: Place): Readonly<Record<string, Json>> {
  if (isObject(place.value)) return place.value;
  return wrong(place, 'an object');
}

function isObject(value: Json | undefined): value is Readonly<Record<string, Json>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}
