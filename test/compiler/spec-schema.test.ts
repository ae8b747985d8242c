import { readdirSync, readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { schemaText } from '../../cli/schema.ts';
import { specSchema } from '../../compiler/spec-schema.ts';
import { kinds } from '../../kinds/registry.ts';

const root = new URL('../../', import.meta.url);
const ajv = new Ajv({
  strict: true,
  strictTypes: false,
  strictRequired: false,
  allErrors: true,
  allowUnionTypes: true,
});
const validate = ajv.compile(specSchema());

function check(text: string): string[] {
  validate(parse(text, { maxAliasCount: 0 }));
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message ?? ''}`);
}

describe('specs/schema/pipeline.v1.json', () => {
  it('is what `fretsaw schema` prints', () => {
    const kept = readFileSync(new URL('specs/schema/pipeline.v1.json', root), 'utf8');
    expect(kept === schemaText(), 'stale: npx tsx cli/main.ts schema > specs/schema/pipeline.v1.json').toBe(
      true,
    );
  });

  const specs = ['specs', 'specs/studies', 'test/fixtures/specs/valid'].flatMap((folder) =>
    readdirSync(new URL(`${folder}/`, root)).flatMap((name) =>
      name.endsWith('.yaml') ? [`${folder}/${name}`] : [],
    ),
  );
  it.each(specs)('accepts %s', (path) => {
    expect(check(readFileSync(new URL(path, root), 'utf8'))).toEqual([]);
  });

  it('knows every kind with its settings and inputs', () => {
    const text = JSON.stringify(specSchema());
    for (const kind of kinds.values())
      if (kind.name !== 'import') expect(text).toContain(`"with-${kind.name}"`);
  });

  it.each([
    ['an unknown setting', 's: { kind: assemble, with: { kep: random } }'],
    ['an unknown input', 's: { kind: assemble, inputs: { modle: a } }'],
    ['an unknown kind', 's: { kind: asemble }'],
    ['a number out of range', 's: { kind: distill, with: { tokens: 0 } }'],
    ['an unknown key of a stage', 's: { kind: assemble, pol: x }'],
  ])('refuses %s', (_, stage) => {
    expect(check(`fretsaw: v1\nname: x\nstages:\n  ${stage}\n`)).not.toEqual([]);
  });

  it('takes an expression wherever a value may stand', () => {
    expect(
      check(
        'fretsaw: v1\nname: x\nstages: { s: { kind: distill, with: { tokens: "${params.t}", seed: "${params.s}" } } }',
      ),
    ).toEqual([]);
  });
});
