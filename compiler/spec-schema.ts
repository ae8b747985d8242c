import { importKind, importTypes } from '../kinds/import.ts';
import type { Inputs, Kind } from '../kinds/kind.ts';
import { kinds } from '../kinds/registry.ts';
import type { ObjectSetting, Setting } from '../kinds/setting.ts';
import {
  approveSetting,
  budgetSetting,
  resourcesSetting,
  retrySetting,
  runBudgetSetting,
} from './how-settings.ts';

/** JSON Schema, as far as it is written here. */
type Schema = Readonly<Record<string, unknown>>;

const expression = { type: 'string', pattern: '\\$\\{' };
const name = { pattern: '^[A-Za-z][A-Za-z0-9_-]{0,63}$' };
const reference = {
  type: 'string',
  description: 'stage.output, stage[effort=low].output, stage[*].output, or the name of an input',
};
const references = {
  anyOf: [
    reference,
    { type: 'array', items: reference },
    { type: 'object', additionalProperties: reference },
  ],
};

/**
 * The JSON Schema of a spec, for editors: names, types and descriptions of everything a kind takes. An
 * overlay (a profile, or a spec that extends) may hold parts, so nothing is required inside one; the
 * compiler says the rest.
 */
export function specSchema(): Schema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Fretsaw pipeline',
    type: 'object',
    additionalProperties: false,
    required: ['fretsaw', 'name'],
    properties: {
      fretsaw: { const: 'v1', description: 'Version of this language.' },
      name: { type: 'string', ...name, description: 'Name of the pipeline.' },
      description: { type: 'string' },
      extends: {
        type: 'string',
        description: 'A spec that this one is laid over: maps merge, the rest replaces, null deletes.',
      },
      ...sections(),
      profiles: {
        type: 'object',
        description: 'Overlays by name, chosen by --profile.',
        additionalProperties: orNull({
          type: 'object',
          additionalProperties: false,
          properties: { description: { type: 'string' }, ...sections() },
        }),
      },
    },
    definitions: {
      how: { ...how() },
      import: importSchema(),
      ...Object.fromEntries(stageKinds().map((kind) => [`with-${kind.name}`, settingSchema(kind.with)])),
      ...Object.fromEntries(stageKinds().map((kind) => [`inputs-${kind.name}`, inputsSchema(kind)])),
      stage: stageSchema(),
    },
  };
}

function stageKinds(): Kind[] {
  return [...kinds.values()].filter((kind) => kind !== importKind);
}

function sections(): Schema {
  return {
    budget: orNull(settingSchema(runBudgetSetting)),
    params: { type: 'object', propertyNames: name, description: 'Values used as ${params.name}.' },
    inputs: {
      type: 'object',
      propertyNames: name,
      description: 'What comes from outside, each pinned by revision and digest.',
      additionalProperties: orNull({ $ref: '#/definitions/import' }),
    },
    stages: {
      type: 'object',
      description: 'The graph: edges are what inputs refer to.',
      properties: { '*': { $ref: '#/definitions/how' } },
      additionalProperties: orNull({ $ref: '#/definitions/stage' }),
    },
    matrix: orNull(matrixSchema('Params with a value each leg.')),
  };
}

function importSchema(): Schema {
  const { revision, digest, record, token } = importKind.with.properties;
  const locations = importTypes.map(
    (type) => [type, { type: 'string', description: 'A local path, file:, s3: or hf: location.' }] as const,
  );
  return {
    type: 'object',
    description: importKind.summary,
    additionalProperties: false,
    properties: {
      ...Object.fromEntries(locations),
      description: { type: 'string' },
      ...Object.fromEntries(
        Object.entries({ revision, digest, record, token }).map(([key, setting]) => [
          key,
          setting === undefined ? {} : orNull(settingSchema(setting)),
        ]),
      ),
      ...howProperties(),
    },
  };
}

/** `kind` decides which settings and inputs are known. */
function stageSchema(): Schema {
  return {
    type: 'object',
    additionalProperties: false,
    properties: {
      kind: {
        description: 'What the stage does.',
        oneOf: stageKinds().map((kind) => ({ const: kind.name, description: kind.summary })),
      },
      description: { type: 'string' },
      inputs: { type: 'object' },
      with: { type: 'object' },
      matrix: orNull(
        matrixSchema('A leg for each value: settings of the kind, or names used as ${matrix.name}.'),
      ),
      ...howProperties(),
    },
    allOf: stageKinds().map((kind) => ({
      if: { properties: { kind: { const: kind.name } }, required: ['kind'] },
      then: {
        properties: {
          with: orNull({ $ref: `#/definitions/with-${kind.name}` }),
          inputs: orNull({ $ref: `#/definitions/inputs-${kind.name}` }),
        },
      },
    })),
  };
}

function inputsSchema(kind: Kind): Schema {
  if (kind.inputs === 'open')
    return { type: 'object', propertyNames: name, additionalProperties: orNull(references) };
  return {
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(
      Object.entries(kind.inputs).map(([key, port]) => [key, orNull(portSchema(port))]),
    ),
  };
}

function portSchema(port: Inputs[string]): Schema {
  const types = port.types === 'any' ? 'anything' : port.types.join(' or ');
  const form =
    port.many === undefined || port.many === false
      ? ''
      : `, a ${port.many.replace('list-or-map', 'list or map')}`;
  const isOptional = port.optional === true ? ', optional' : '';
  const description = `${port.description} (${types}${form}${isOptional})`;
  if (port.many === undefined || port.many === false) return { ...reference, description };
  return { ...references, description };
}

function how(): Schema {
  return { type: 'object', additionalProperties: false, properties: howProperties() };
}

function howProperties(): Schema {
  return {
    pool: orNull({ type: 'string', description: 'Workers of one hardware class. Never part of the key.' }),
    resources: orNull(settingSchema(resourcesSetting)),
    retry: orNull(settingSchema(retrySetting)),
    budget: orNull(settingSchema(budgetSetting)),
    approve: orNull(settingSchema(approveSetting)),
  };
}

function matrixSchema(description: string): Schema {
  const value = { type: ['string', 'number', 'boolean'] };
  return {
    type: 'object',
    description,
    propertyNames: name,
    additionalProperties: { type: 'array', items: value, minItems: 1 },
  };
}

function descriptionOf(setting: Setting): string {
  const isNumber = !('anyOf' in setting) && (setting.type === 'integer' || setting.type === 'number');
  return isNumber && setting.unit !== undefined
    ? `${setting.description} Unit: ${setting.unit}.`
    : setting.description;
}

/** A setting as JSON Schema; wherever a value may stand, an expression may. */
function settingSchema(setting: Setting): Schema {
  const common = {
    description: descriptionOf(setting),
    ...(setting.default === undefined ? {} : { default: setting.default }),
  };
  if ('anyOf' in setting) return { ...common, anyOf: [...setting.anyOf.map(settingSchema), expression] };
  switch (setting.type) {
    case 'object':
      return orExpression(objectSchema(setting), common);
    case 'array': {
      const { items, minItems, uniqueItems } = setting;
      return orExpression({ type: 'array', items: settingSchema(items), minItems, uniqueItems }, common);
    }
    case 'integer':
    case 'number': {
      const { type, minimum, maximum, exclusiveMinimum } = setting;
      return orExpression({ type, minimum, maximum, exclusiveMinimum }, common);
    }
    case 'string': {
      const { enum: values, pattern, minLength } = setting;
      return orExpression({ type: 'string', enum: values, pattern, minLength }, common);
    }
    case 'boolean':
    case 'null':
      return orExpression({ type: setting.type }, common);
  }
}

function objectSchema({ properties, additionalProperties }: ObjectSetting): Schema {
  return {
    type: 'object',
    properties: Object.fromEntries(
      Object.entries(properties).map(([key, setting]) => [key, orNull(settingSchema(setting))]),
    ),
    additionalProperties: additionalProperties === false ? false : settingSchema(additionalProperties),
  };
}

function orExpression(schema: Schema, common: Schema): Schema {
  return { ...common, anyOf: [withoutUndefined(schema), expression] };
}

/** In an overlay null deletes. */
function orNull(schema: Schema): Schema {
  if (Array.isArray(schema['anyOf']))
    return { ...schema, anyOf: [...(schema['anyOf'] as Schema[]), { type: 'null' }] };
  return { anyOf: [schema, { type: 'null' }] };
}

function withoutUndefined(schema: Schema): Schema {
  return Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));
}
