import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { moeFile, noise } from '../contract/tensor-file.ts';

const script = fileURLToPath(new URL('../../docs/read_store.py', import.meta.url));
let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-read-'));
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

it('docs/read_store.py reads blobs, layouts and packs, and refuses wrong bytes', async () => {
  const files = {
    'config.json': Buffer.from('{}'),
    'model.safetensors': moeFile([[1, 2, 3, 4, 5, 6, 7, 8]]),
    'sub/data.jsonl': noise('data', 9 << 20),
  };
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(join(home, 'in', path, '..'), { recursive: true });
    writeFileSync(join(home, 'in', path), bytes);
  }
  const store = openDiskStore({ home, domain: 'local', trusted: [] });
  const { digest } = await store.artifacts.putFolder(join(home, 'in'), { type: 'checkpoint' });
  execFileSync('python3', [script, join(home, 'store'), digest, join(home, 'out')]);
  for (const [path, bytes] of Object.entries(files))
    expect(readFileSync(join(home, 'out', path)).equals(bytes)).toBe(true);
  const manifest = await store.artifacts.manifest(digest);
  const { sha256 = '' } = manifest?.files.find(({ path }) => path === 'config.json') ?? {};
  const blob = join(home, 'store/blobs/sha256', sha256.slice(0, 2), sha256);
  rmSync(blob);
  writeFileSync(blob, '[]');
  expect(() =>
    execFileSync('python3', [script, join(home, 'store'), digest, join(home, 'bad')], { stdio: 'pipe' }),
  ).toThrow(/wrong bytes/);
});
