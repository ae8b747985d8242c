import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { isDigest, type Digest } from '../../core/digest.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';

const writer = fileURLToPath(new URL('./store-writer.ts', import.meta.url));
const rounds = 6;

/** What the writer had been promised when it was killed, `delayMs` after the store's first promise. */
function runAndKill(home: string, seed: string, delayMs: number): Promise<Digest[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', writer, home, seed], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    let isTimed = false;
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (isTimed || !text.includes('sha256:')) return;
      isTimed = true;
      setTimeout(() => child.kill('SIGKILL'), delayMs);
    });
    child.on('error', reject);
    child.on('close', () => {
      // The last line may be half a digest.
      resolve(text.split('\n').slice(0, -1).filter(isDigest));
    });
  });
}

it('a writer killed at any moment leaves only whole artifacts, among them all that it was promised', async () => {
  const home = mkdtempSync(join(tmpdir(), 'fretsaw-crash-'));
  try {
    const promised: Digest[] = [];
    for (let round = 0; round < rounds; round++) {
      // Two writers of overlapping artifacts; the kill falls anywhere in a put (a put takes about 10 ms).
      const both = [0, 1].map((n) => runAndKill(home, `writer ${n}`, round * 17 + n * 7));
      promised.push(...(await Promise.all(both)).flat());
    }
    expect(promised.length).toBeGreaterThanOrEqual(2 * rounds);
    const store = openDiskStore({ home, domain: 'local', trusted: [] });
    const known = await store.artifacts.list();
    expect(promised.filter((digest) => !known.includes(digest))).toEqual([]);
    for (const digest of known) {
      expect(await store.artifacts.missing(digest)).toEqual([]);
      const manifest = await store.artifacts.manifest(digest);
      for (const { path, size } of manifest?.files ?? []) {
        expect((await store.artifacts.readFile(digest, path)).length).toBe(size); // verified while read
      }
    }
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}, 60_000);
