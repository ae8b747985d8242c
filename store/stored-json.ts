import { Failure } from '../core/errors.ts';

export type StoredObject = { readonly [key: string]: unknown };

/** A stored document of exactly this schema; anything else is CORRUPT. */
export function parseStored(text: string, schema: string, where: string): StoredObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Failure('CORRUPT', `${where}: not JSON`, { cause });
  }
  const object = storedObject(value, where);
  if (object['schema'] !== schema) {
    throw new Failure(
      'CORRUPT',
      `${where}: expected schema ${schema}, found ${JSON.stringify(object['schema'])}`,
    );
  }
  return object;
}

export function storedObject(value: unknown, where: string): StoredObject {
  if (!isObject(value)) throw new Failure('CORRUPT', `${where}: expected an object, found ${typeof value}`);
  return value;
}

/** All of `keys` and no other. */
export function exactKeys(value: unknown, keys: readonly string[], where: string): StoredObject {
  const object = storedObject(value, where);
  const unknown = Object.keys(object).filter((key) => !keys.includes(key));
  const absent = keys.filter((key) => !(key in object));
  if (unknown.length + absent.length > 0) {
    throw new Failure(
      'CORRUPT',
      `${where}: unknown keys [${unknown.join(', ')}], absent keys [${absent.join(', ')}]`,
    );
  }
  return object;
}

function isObject(value: unknown): value is StoredObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
