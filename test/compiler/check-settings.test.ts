import { Ajv } from 'ajv';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkMap } from '../../compiler/check-settings.ts';
import { parseYaml } from '../../compiler/parse-yaml.ts';
import { Faults } from '../../compiler/tree.ts';
import type { Json } from '../../core/canonical-json.ts';
import { kinds } from '../../kinds/registry.ts';
import type { ObjectSetting, Setting } from '../../kinds/setting.ts';

const ajv = new Ajv({ strict: true, strictTypes: false, keywords: ['unit'], allErrors: true });

/** Ours, on the YAML that this JSON is. */
function check(value: Json, setting: ObjectSetting): { isValid: boolean; value: Json } {
  const faults = new Faults();
  const node = parseYaml('value.yaml', JSON.stringify(value), faults);
  if (node?.kind !== 'map') throw new Error('bug: not a map');
  const checked = checkMap(node, setting, { faults, path: 'x', place: node.place });
  return { isValid: faults.count === 0, value: checked };
}

/** fast-check makes objects without a prototype. */
function plain(value: Json): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}

const noise: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>('', 'low', 'x', 0, 1, -1, 0.5, 7, true, false, null, [], {}, [1], ['low'], { a: 1 }),
);

/** Values that fit a setting, or nearly so. */
function near(setting: Setting): fc.Arbitrary<Json> {
  return fc.oneof({ weight: 6, arbitrary: fitting(setting) }, { weight: 1, arbitrary: noise });
}

function fitting(setting: Setting): fc.Arbitrary<Json> {
  if ('anyOf' in setting) return fc.oneof(...setting.anyOf.map(near));
  switch (setting.type) {
    case 'object':
      return fittingMap(setting);
    case 'array':
      return fc.array(near(setting.items), { maxLength: 3 });
    case 'string':
      return fc.constantFrom<Json>(...(setting.enum ?? ['x']), 'NAME', '');
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'integer':
    case 'number': {
      const limits = [setting.minimum, setting.maximum, setting.exclusiveMinimum].filter(
        (limit) => limit !== undefined,
      );
      return fc.constantFrom<Json>(...limits, 0, 1, 2, 0.5, 100);
    }
  }
}

function fittingMap(setting: ObjectSetting): fc.Arbitrary<Json> {
  if (setting.additionalProperties !== false) {
    return fc.dictionary(fc.constantFrom('low', 'high', 'other'), near(setting.additionalProperties));
  }
  const fields = Object.entries(setting.properties).map(([key, property]) => [key, near(property)] as const);
  return fc.record(Object.fromEntries(fields), { requiredKeys: [...(setting.required ?? [])] });
}

describe('checking settings', () => {
  it.each([...kinds.values()])('of $name agrees with ajv on what is valid', (kind) => {
    const validate = ajv.compile(kind.with);
    fc.assert(
      fc.property(fitting(kind.with), (value) => {
        const wellFormed = plain(value);
        expect(check(wellFormed, kind.with).isValid).toBe(validate(wellFormed));
      }),
      { numRuns: 60 },
    );
  });

  it.each([...kinds.values()])('of $name changes nothing when what it gave is checked again', (kind) => {
    fc.assert(
      fc.property(fitting(kind.with), (value) => {
        const first = check(plain(value), kind.with);
        if (!first.isValid) return;
        expect(check(first.value, kind.with)).toEqual(first);
      }),
      { numRuns: 60 },
    );
  });
});
