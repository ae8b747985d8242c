import { readFileSync, readdirSync } from 'node:fs';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { schemaText } from '../../cli/schema.ts';
import { poolSchema } from '../../compiler/pool-schema.ts';
import { readPool } from '../../compiler/read-pool.ts';
import { renderDiagnostics } from '../../compiler/render-diagnostics.ts';

const pools = new URL('../../infra/pools/', import.meta.url);

test('every pool of infra/pools is right, and has the name of its file', () => {
  const files = readdirSync(pools);
  expect(files).toContain('h100x8.yaml');
  for (const file of files) {
    const read = readPool(file, readFileSync(new URL(file, pools), 'utf8'));
    if (!read.ok) throw new Error(renderDiagnostics(read.error));
    expect(`${read.value.name}.yaml`).toBe(file);
  }
});

describe('specs/schema/pool.v1.json', () => {
  const validate = new Ajv({ strict: true, strictTypes: false, strictRequired: false }).compile(poolSchema());

  test('is what `fretsaw schema pool` prints', () => {
    const kept = readFileSync(new URL('../../specs/schema/pool.v1.json', import.meta.url), 'utf8');
    const hint = 'stale: npx tsx cli/main.ts schema pool > specs/schema/pool.v1.json';
    expect(kept === schemaText('pool'), hint).toBe(true);
  });

  test('takes every pool of infra/pools, which name it for editors', () => {
    for (const file of readdirSync(pools)) {
      const text = readFileSync(new URL(file, pools), 'utf8');
      expect(validate(parse(text)), file).toBe(true);
      expect(text).toContain('# yaml-language-server: $schema=../../specs/schema/pool.v1.json');
    }
  });

  test.each([
    ['settings of another launcher', 'launcher: local\nslurm: {}'],
    ['a launcher without its settings', 'launcher: slurm'],
    ['an unknown key', 'slot: 2'],
    ['a number out of range', 'slots: 0'],
    ['a path that is not absolute', 'home: shared'],
  ])('refuses %s, as reading does', (_, text) => {
    const yaml = `fretsaw: pool/v1\nname: a\n${text}\n`;
    expect(validate(parse(yaml))).toBe(false);
    expect(readPool('a.yaml', yaml).ok).toBe(false);
  });
});

test('what is not written has its default', () => {
  const read = readPool('a.yaml', 'fretsaw: pool/v1\nname: a\nlauncher: slurm\nslurm: {}\n');
  expect(read).toEqual({
    ok: true,
    value: {
      fretsaw: 'pool/v1',
      name: 'a',
      launcher: 'slurm',
      slots: 1,
      jobs: { env: [] },
      slurm: { gpus_per_node: 8, options: [], poll_seconds: 5 },
    },
  });
});

test('a wrong pool is told all at once, each fault at its place', async () => {
  const file = new URL('../fixtures/pools/wrong.yaml', import.meta.url);
  const read = readPool('wrong.yaml', readFileSync(file, 'utf8'));
  const expected = new URL('../fixtures/pools/wrong.expected.txt', import.meta.url).pathname;
  await expect(read.ok ? '' : renderDiagnostics(read.error)).toMatchFileSnapshot(expected);
});

test('a launcher without its settings, and no text at all, are faults', () => {
  const codes = (yaml: string): string[] => {
    const read = readPool('a.yaml', yaml);
    return read.ok ? [] : read.error.map(({ code }) => code);
  };
  expect(codes('fretsaw: pool/v1\nname: a\nlauncher: slurm\n')).toEqual(['MISSING_SETTING']);
  expect(codes('')).toEqual(['MISSING_SETTING', 'MISSING_SETTING']);
  expect(codes('- a')).toEqual(['WRONG_TYPE']);
});
