import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { diagnosticCodes, type Diagnostic } from '../../compiler/diagnostic.ts';
import { renderDiagnostics } from '../../compiler/render-diagnostics.ts';
import { compileFixture, compileTexts, faultsOf } from '../support/compile-file.ts';

const folder = new URL('../fixtures/specs/invalid/', import.meta.url);
const fixtures = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
/** Specs that are wrong only under a profile. */
const profiles: Record<string, string> = { 'profile.yaml': 'wrong', 'unknown-profile.yaml': 'rehearsl' };

function faults(name: string): Diagnostic[] {
  return faultsOf(compileFixture(`invalid/${name}`, { profile: profiles[name] }));
}

describe('a spec that is wrong', () => {
  it.each(fixtures)('%s is told all at once, each fault at its place', async (name) => {
    const expected = new URL(name.replace('.yaml', '.expected.txt'), folder).pathname;
    await expect(renderDiagnostics(faults(name))).toMatchFileSnapshot(expected);
  });

  it('in five ways gives five diagnostics or more', () => {
    const codes = faults('five-ways.yaml').map(({ code }) => code);
    expect(new Set(codes)).toEqual(
      new Set([
        'UNKNOWN_KIND',
        'UNKNOWN_STAGE',
        'UNKNOWN_INPUT',
        'MISSING_INPUT',
        'UNKNOWN_PARAM',
        'UNKNOWN_SETTING',
      ]),
    );
  });

  it('is covered by a fixture for every code', () => {
    const seen = new Set(fixtures.flatMap((name) => faults(name).map(({ code }) => code)));
    expect(diagnosticCodes.filter((code) => !seen.has(code) && code !== 'TOO_LARGE')).toEqual([]);
  });

  it('points at the file where the fault is written, not at the one that was named', () => {
    const paths = new Set(faults('overlay.yaml').map(({ range }) => range.path));
    expect(paths).toEqual(new Set(['invalid/overlay.yaml', 'invalid/bases/overlay-base.yaml']));
  });
});

describe('a spec that is no text of a person', () => {
  it('is refused by its size before it is parsed', () => {
    const started = performance.now();
    const [fault] = faultsOf(compileTexts({ 'big.yaml': 'a: [1, 2, 3]\n'.repeat(4_000_000) }));
    expect(fault?.code).toBe('TOO_LARGE');
    expect(fault?.message).toContain('52.0 MB');
    expect(performance.now() - started).toBeLessThan(1000);
  });

  it('nested a hundred thousand deep is a syntax error, not a crash', () => {
    const codes = faultsOf(compileTexts({ 'deep.yaml': `a: ${'['.repeat(100_000)}` })).map(
      ({ code }) => code,
    );
    expect(new Set(codes)).toEqual(new Set(['SYNTAX']));
  });

  it('with an alias bomb is refused without expanding it', () => {
    const lines = [
      'a0: &a0 [x, x]',
      ...Array.from({ length: 60 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`),
    ];
    expect(faultsOf(compileTexts({ 'bomb.yaml': lines.join('\n') })).map(({ code }) => code)).toContain(
      'ALIAS',
    );
  });

  it('that is empty misses what is required', () => {
    expect(faultsOf(compileTexts({ 'empty.yaml': '' })).map(({ message }) => message)).toEqual([
      'fretsaw is required',
      'name is required',
    ]);
  });
});

describe('--param', () => {
  const spec = 'fretsaw: v1\nname: p\nparams: { steps: 1 }\nstages: {}\n';

  it('of a name that the spec does not have is an error with a suggestion', () => {
    const [fault] = faultsOf(compileTexts({ 'p.yaml': spec }, { params: { stesp: '5' } }));
    expect(fault).toMatchObject({
      code: 'UNKNOWN_PARAM',
      hint: 'did you mean steps?',
      range: { path: '--param' },
    });
  });

  it('may not be an alias or a tag either', () => {
    expect(faultsOf(compileTexts({ 'p.yaml': spec }, { params: { steps: '*x' } })).length).toBeGreaterThan(0);
  });
});
