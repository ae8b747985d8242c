import type { Json } from '../core/canonical-json.ts';

/** One place where two documents differ; a side that lacks it is undefined. */
export interface FieldDifference {
  /** Dotted path with list indices: `with.scenarios[0].batch`. */
  field: string;
  a?: Json;
  b?: Json;
}

/** Every leaf that differs, in the order of `a`, then what only `b` has. */
export function jsonDifference(field: string, a: Json | undefined, b: Json | undefined): FieldDifference[] {
  if (Object.is(a, b)) return [];
  if (isList(a) && isList(b)) {
    const indices = Array.from({ length: Math.max(a.length, b.length) }, (_, index) => index);
    return indices.flatMap((index) => jsonDifference(`${field}[${index}]`, a[index], b[index]));
  }
  if (isMap(a) && isMap(b)) {
    const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    return names.flatMap((name) =>
      jsonDifference(field === '' ? name : `${field}.${name}`, a[name], b[name]),
    );
  }
  return [{ field, ...(a === undefined ? {} : { a }), ...(b === undefined ? {} : { b }) }];
}

function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

function isMap(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
