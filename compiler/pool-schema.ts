import type { Setting } from '../kinds/setting.ts';
import { poolSetting } from './read-pool.ts';

type Schema = Record<string, unknown>;

/** The JSON Schema of a pool's file, of the very settings that it is read by: editors check it as it is written. */
export function poolSchema(): Schema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: 'https://fretsaw.dev/schema/pool.v1.json',
    title: 'Fretsaw pool, version 1',
    ...plain(poolSetting),
    allOf: ['slurm', 'kubernetes'].map(ofLauncher),
  };
}

/** The settings of a launcher are there when it is chosen, and only then. */
function ofLauncher(name: string): Schema {
  return {
    if: { properties: { launcher: { const: name } }, required: ['launcher'] },
    then: { required: [name] },
    else: { properties: { [name]: false } },
  };
}

/** A setting is JSON Schema but for its unit, which joins the description. */
function plain(setting: Setting): Schema {
  const { unit, description, ...rest } = setting as Setting & { unit?: string };
  const schema: Schema = {
    description: unit === undefined ? description : `${description} Unit: ${unit}.`,
    ...rest,
  };
  if ('anyOf' in setting) return { ...schema, anyOf: setting.anyOf.map(plain) };
  if (setting.type === 'array') return { ...schema, items: plain(setting.items) };
  if (setting.type !== 'object') return schema;
  const { properties, additionalProperties } = setting;
  return {
    ...schema,
    properties: Object.fromEntries(Object.entries(properties).map(([key, inner]) => [key, plain(inner)])),
    additionalProperties: additionalProperties === false ? false : plain(additionalProperties),
  };
}
