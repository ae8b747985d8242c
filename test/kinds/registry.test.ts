import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { kinds } from '../../kinds/registry.ts';
import type { Setting } from '../../kinds/setting.ts';

const all = [...kinds.values()];

function visit(setting: Setting, path: string, see: (setting: Setting, path: string) => void): void {
  see(setting, path);
  if ('anyOf' in setting) for (const choice of setting.anyOf) visit(choice, `${path}|`, see);
  else if (setting.type === 'array') visit(setting.items, `${path}[]`, see);
  else if (setting.type === 'object') {
    for (const [key, property] of Object.entries(setting.properties)) visit(property, `${path}.${key}`, see);
    if (setting.additionalProperties !== false) visit(setting.additionalProperties, `${path}.*`, see);
  }
}

describe('every kind', () => {
  it.each(all)('$name describes each of its settings, inputs and itself', (kind) => {
    expect(kind.summary).toMatch(/\.$/);
    expect(kind.example).toContain(kind.name === 'import' ? 'inputs:' : `kind: ${kind.name}`);
    visit(kind.with, kind.name, (setting, path) => {
      expect(setting.description, path).not.toBe('');
    });
    if (kind.inputs !== 'open')
      for (const port of Object.values(kind.inputs)) expect(port.description).not.toBe('');
  });

  it.each(all)('$name has a JSON Schema that ajv compiles, and defaults that it accepts', (kind) => {
    const ajv = new Ajv({ strict: true, strictTypes: false, keywords: ['unit'] });
    ajv.compile(kind.with);
    visit(kind.with, kind.name, (setting, path) => {
      if (setting.default !== undefined) expect(ajv.validate(setting, setting.default), path).toBe(true);
    });
  });

  it.each(all)('$name fills nested defaults in whole, so that writing one out changes nothing', (kind) => {
    visit(kind.with, kind.name, (setting, path) => {
      if ('anyOf' in setting || setting.type !== 'object' || setting.default === undefined) return;
      const nested = Object.entries(setting.properties).filter(
        ([, property]) => property.default !== undefined,
      );
      expect(setting.default, path).toMatchObject(
        Object.fromEntries(nested.map(([key, property]) => [key, property.default])),
      );
    });
  });
});
