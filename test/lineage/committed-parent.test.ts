import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { bindKey } from '../../compiler/bind.ts';
import { artifactDigest } from '../../core/artifact.ts';
import { sha256Bytes } from '../../store/sha256.ts';
import { parseRecordText } from '../../lineage/record-statement.ts';
import { compileTexts, planOf, sha256, stageOf } from '../support/compile-file.ts';

const specs = fileURLToPath(new URL('../../specs/', import.meta.url));
const record = parseRecordText(
  readFileSync(join(specs, 'rehearsal', 'parent.record.json'), 'utf8'),
  'parent.record.json',
);

function digestOfFolder(folder: string): string {
  const files = readdirSync(folder).map((path) => {
    const bytes = readFileSync(join(folder, path));
    return { path, size: bytes.length, sha256: sha256Bytes(bytes) };
  });
  return artifactDigest(files, sha256);
}

it('the committed parent and its curves are the bytes that its record says were made', () => {
  const { checkpoint, curves } = record.outputs;
  expect(digestOfFolder(join(specs, 'rehearsal', 'parent'))).toBe(checkpoint?.digest);
  expect(digestOfFolder(join(specs, 'rehearsal', 'parent-curves'))).toBe(curves?.digest);
});

it('its record asks for what its spec asks for, and was made in clean code', () => {
  const text = readFileSync(join(specs, 'rehearsal-parent.yaml'), 'utf8');
  const stage = stageOf(planOf(compileTexts({ 'rehearsal-parent.yaml': text })), 'parent');
  const noInputs = (): never => {
    throw new Error('bug: pretrain reads nothing');
  };
  expect(bindKey(stage, noInputs, { pretrain: record.document.version })).toEqual(record.document);
  expect(record.document.version).toMatch(/^\d+$/);
});

it('the rehearsal is pinned to it', () => {
  const text = readFileSync(join(specs, 'gpt-oss-puzzle-88b.yaml'), 'utf8');
  const spec = compileTexts({ 'gpt-oss-puzzle-88b.yaml': text }, { profile: 'rehearsal' });
  expect(stageOf(planOf(spec), 'parent').with).toMatchObject({
    digest: record.outputs['checkpoint']?.digest,
    record: 'rehearsal/parent.record.json',
  });
});
