import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CodeDigests, codeDigest } from '../../kinds/code-digest.ts';
import { kindNamed, kinds } from '../../kinds/registry.ts';
import { kindVersions, pinKinds, pinnedPath } from '../../kinds/versions.ts';

const root = new URL('../../', import.meta.url);
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const reading = {
  readFile: (path: string): string | undefined => {
    const file = new URL(path, root);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  },
  sha256,
};

/** This repository with some files changed. */
function changed(files: Record<string, string>): typeof reading {
  return { sha256, readFile: (path) => files[path] ?? reading.readFile(path) };
}

const pinned = changed({ [pinnedPath]: JSON.stringify(pinKinds(reading)) });

describe('the code digest of a kind', () => {
  it('covers its own Python modules transitively, and the data they read', () => {
    const files = new CodeDigests(reading).filesOf(kindNamed('distill'));
    expect(files).toContain('kinds/distill.ts');
    expect(files).toContain('engine/src/fretsaw_engine/stages/distill.py');
    expect(files).toContain('engine/src/fretsaw_engine/moe/checkpoint.py');
    expect(files).not.toContain('engine/src/fretsaw_engine/stages/reinforce.py');
    const generating = new CodeDigests(reading).filesOf(kindNamed('generate'));
    expect(generating).toContain('engine/src/fretsaw_engine/harmony/chat_template.jinja');
  });

  it('covers the TypeScript of an inline kind, but not the ground that all stand on', () => {
    const files = new CodeDigests(reading).filesOf(kindNamed('select'));
    expect(files).toContain('activities/select.ts');
    expect(files).toContain('selection/solver.ts');
    expect(files.filter((path) => /^(core|store|lineage)\//.test(path))).toEqual([]);
  });

  it('changes with a module that is imported from afar, and with nothing else', () => {
    const path = 'engine/src/fretsaw_engine/moe/mxfp4.py';
    const other = changed({ [path]: `${reading.readFile(path) ?? ''}\n# changed\n` });
    expect(codeDigest(kindNamed('distill'), other)).not.toBe(codeDigest(kindNamed('distill'), reading));
    expect(codeDigest(kindNamed('select'), other)).toBe(codeDigest(kindNamed('select'), reading));
  });

  it('changes with the locked version of a library that the kind computes with, and of no other', () => {
    const lock = reading.readFile('engine/requirements.lock') ?? '';
    const newTorch = changed({ 'engine/requirements.lock': lock.replace(/^torch==.*$/m, 'torch==9.9.9') });
    const newHighs = changed({
      'package.json': (reading.readFile('package.json') ?? '').replace(
        /"highs": "[^"]*"/,
        '"highs": "9.9.9"',
      ),
    });
    for (const [name, other, isChanged] of [
      ['distill', newTorch, true],
      ['select', newTorch, false],
      ['select', newHighs, true],
      ['distill', newHighs, false],
    ] as const) {
      expect(codeDigest(kindNamed(name), other) !== codeDigest(kindNamed(name), reading), name).toBe(
        isChanged,
      );
    }
  });

  it('finds every file that a kind names', () => {
    const missing = [...kinds.values()].flatMap(({ name, code }) => {
      const modules = code.python.map((module) => `engine/src/${module.replaceAll('.', '/')}.py`);
      return [...modules, ...code.typescript]
        .filter((path) => reading.readFile(path) === undefined)
        .map((path) => `${name}: ${path}`);
    });
    expect(missing).toEqual([]);
  });
});

describe('the version of a kind', () => {
  it('is its number while the code is the pinned one', () => {
    expect(kindVersions(pinned).versions['distill']).toBe(String(kindNamed('distill').version));
  });

  it('is dirty when code or number differ from the pin, or there is no pin', () => {
    const path = 'engine/src/fretsaw_engine/stages/distill.py';
    const edited = {
      ...pinned,
      readFile: (file: string) => (file === path ? 'changed' : pinned.readFile(file)),
    };
    expect(kindVersions(edited).versions['distill']).toMatch(/^\d+\+dirty\.[0-9a-f]{8}$/);
    expect(kindVersions(edited).versions['select']).toBe(String(kindNamed('select').version));
    const unpinned = {
      ...reading,
      readFile: (file: string) => (file === pinnedPath ? undefined : reading.readFile(file)),
    };
    expect(kindVersions(unpinned).versions['select']).toMatch(/\+dirty\./);
  });

  it('can be told for some kinds only', () => {
    expect(Object.keys(kindVersions(pinned, ['command']).versions)).toEqual(['command']);
  });

  it('is told here as it stands: dirty is legal while code changes', () => {
    const dirty = Object.entries(kindVersions(reading).versions).filter(([, version]) =>
      version.includes('+dirty'),
    );
    if (dirty.length > 0) {
      console.info(
        `pins are stale (npm run pin:kinds): ${dirty.map(([name, version]) => `${name} ${version}`).join(', ')}`,
      );
    }
    expect(Object.keys(kindVersions(reading).versions)).toHaveLength(kinds.size);
  });
});
