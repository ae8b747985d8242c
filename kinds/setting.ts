import type { Json } from '../core/canonical-json.ts';

/**
 * The part of JSON Schema that `with` is written in. It is small on purpose: the compiler checks it
 * itself, so that every fault has a place in the YAML text, and specs/schema is generated from it.
 */
export type Setting =
  ObjectSetting | ArraySetting | NumberSetting | StringSetting | BooleanSetting | NullSetting | AnyOfSetting;

interface Described {
  description: string;
  /** Filled in when the spec says nothing; without it the setting is absent or required. */
  default?: Json;
}

export interface ObjectSetting extends Described {
  type: 'object';
  properties: Readonly<Record<string, Setting>>;
  required?: readonly string[];
  /** What free keys hold; false means that an unknown key is an error. */
  additionalProperties: false | Setting;
}

export interface ArraySetting extends Described {
  type: 'array';
  items: Setting;
  minItems?: number;
  uniqueItems?: boolean;
}

export interface NumberSetting extends Described {
  type: 'integer' | 'number';
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  /** What one is, in words: tokens, steps, bytes. Joins the description in the generated schema. */
  unit?: string;
}

export interface StringSetting extends Described {
  type: 'string';
  enum?: readonly string[];
  pattern?: string;
  minLength?: number;
}

export interface BooleanSetting extends Described {
  type: 'boolean';
}

/** Inside lists only: in a map, null deletes (overlays). */
export interface NullSetting extends Described {
  type: 'null';
}

export interface AnyOfSetting extends Described {
  anyOf: readonly Setting[];
}

type Rest<S> = Omit<S, 'type' | 'description'>;

export function integer(description: string, rest: Rest<NumberSetting> = {}): NumberSetting {
  return { type: 'integer', description, ...rest };
}

export function number(description: string, rest: Rest<NumberSetting> = {}): NumberSetting {
  return { type: 'number', description, ...rest };
}

export function text(description: string, rest: Rest<StringSetting> = {}): StringSetting {
  return { type: 'string', description, ...rest };
}

export function choice(description: string, values: readonly string[], fallback?: string): StringSetting {
  return {
    type: 'string',
    description,
    enum: values,
    ...(fallback === undefined ? {} : { default: fallback }),
  };
}

export function flag(description: string, fallback?: boolean): BooleanSetting {
  return { type: 'boolean', description, ...(fallback === undefined ? {} : { default: fallback }) };
}

export function list(
  description: string,
  items: Setting,
  rest: Omit<Rest<ArraySetting>, 'items'> = {},
): ArraySetting {
  return { type: 'array', description, items, ...rest };
}

type Properties = Readonly<Record<string, Setting>>;

/** A map with known keys; those in `required` must be given. */
export function record(
  description: string,
  properties: Properties,
  rest: { required?: readonly string[]; default?: Json } = {},
): ObjectSetting {
  return { type: 'object', description, properties, additionalProperties: false, ...rest };
}

/** A map with the user's own keys. */
export function mapOf(description: string, values: Setting, rest: { default?: Json } = {}): ObjectSetting {
  return { type: 'object', description, properties: {}, additionalProperties: values, ...rest };
}

export function anyOf(
  description: string,
  choices: readonly Setting[],
  rest: { default?: Json } = {},
): AnyOfSetting {
  return { description, anyOf: choices, ...rest };
}

/** The settings of a kind. */
export function settings(properties: Properties, required: readonly string[] = []): ObjectSetting {
  return record('Settings: what is asked for. They are part of the stage key.', properties, { required });
}

/** Every sampler takes a seed (STYLE section 5). */
export const seed: NumberSetting = integer('Seed of everything drawn at random in this stage.', {
  default: 1,
  minimum: 0,
  maximum: 2 ** 32 - 1,
});

export const nothing: NullSetting = { type: 'null', description: 'null' };

/** `{secret: NAME}`: resolved on the worker; only the name is ever written down. */
export const secret: ObjectSetting = record(
  'The name of a secret that the worker resolves.',
  { secret: text('Name of the secret on the worker.', { pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }) },
  { required: ['secret'] },
);
