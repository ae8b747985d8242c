import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname as hostName, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ArtifactRef } from '../../core/artifact.ts';
import { isDigest, parseDigest } from '../../core/digest.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { put } from '../contract/store-rig.ts';
import { moeFile } from '../contract/tensor-file.ts';
import { churn } from './store-churner.ts';

let home: string;
let store: Store;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-gc-'));
  store = openDiskStore({ home, domain: 'local', trusted: [] });
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

const hourMs = 3_600_000;
async function putModel(experts: number[], rest: string): Promise<ArtifactRef> {
  const folder = join(home, `in-${rest}`);
  mkdirSync(folder);
  writeFileSync(join(folder, 'model.safetensors'), moeFile([experts], rest));
  return store.artifacts.putFolder(folder, { type: 'checkpoint' });
}
function age(): void {
  const old = Date.now() / 1000 - 48 * 3600;
  for (const entry of readdirSync(join(home, 'store'), { recursive: true, withFileTypes: true }))
    if (entry.isFile()) utimesSync(join(entry.parentPath, entry.name), old, old);
}
const collect = (roots: ArtifactRef[], dryRun = false) =>
  store.upkeep.collect({ roots: async () => roots.map(({ digest }) => digest), graceMs: hourMs, dryRun });

describe('garbage collection', () => {
  it('names what would go and how many bytes, and takes nothing, with --dry-run', async () => {
    const ref = await put(store, { a: 'twelve bytes' });
    age();
    const report = await collect([], true);
    expect(report.objects.map(({ name }) => name.split('/')[0])).toEqual(['artifacts', 'blobs']);
    expect(report.bytes).toBeGreaterThan(12);
    expect(await store.artifacts.missing(ref.digest)).toEqual([]);
    expect(readdirSync(join(home, 'store'))).not.toContain('gc');
  });

  it('keeps what a root shares with the artifact that goes', async () => {
    const parent = await putModel([0, 1, 2, 3, 4, 5, 6, 7, 8], 'parent');
    const child = await putModel([1, 3, 5, 7, 8], 'child');
    age();
    const report = await collect([child]);
    expect(await store.artifacts.missing(parent.digest)).toEqual(['(manifest)']);
    expect(await store.artifacts.missing(child.digest)).toEqual([]);
    expect((await store.artifacts.readFile(child.digest, 'model.safetensors')).length).toBe(child.sizeBytes);
    expect(report.objects.filter(({ name }) => name.startsWith('packs/')).length).toBeGreaterThanOrEqual(4);
    expect((await collect([child])).objects).toEqual([]);
  });

  it('keeps what was put, or put again, within the grace period, and what a pin names', async () => {
    const again = await put(store, { a: 'again' });
    const pinned = await put(store, { a: 'pinned' });
    const gone = await put(store, { a: 'gone' });
    age();
    await store.upkeep.pin('mine', pinned.digest);
    await put(store, { a: 'again' });
    const fresh = await put(store, { a: 'fresh' });
    await store.upkeep.collect({ roots: () => store.upkeep.referred(), graceMs: hourMs, dryRun: false });
    const missing = async (ref: ArtifactRef) => (await store.artifacts.missing(ref.digest)).length;
    expect([await missing(again), await missing(pinned), await missing(fresh)]).toEqual([0, 0, 0]);
    expect(await missing(gone)).toBe(1);
    await store.upkeep.unpin('mine');
    age();
    await store.upkeep.collect({ roots: () => store.upkeep.referred(), graceMs: hourMs, dryRun: false });
    expect(await missing(pinned)).toBe(1);
    await expect(store.upkeep.pin('late', pinned.digest)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('takes nothing while a manifest that it must follow cannot be read', async () => {
    const root = await put(store, { a: 'root' });
    const other = await put(store, { a: 'other' });
    const hex = root.digest.slice(7);
    const name = join(home, 'store/artifacts', hex.slice(0, 2), hex);
    rmSync(name);
    writeFileSync(name, '{"schema":"fretsaw/man');
    age();
    await expect(collect([root])).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(await store.artifacts.missing(other.digest)).toEqual([]);
  });

  it('goes on after one that was killed, and waits for none that is at work', async () => {
    const begin = (pid: number, n: number): void => {
      mkdirSync(join(home, `store/gc/${n}`), { recursive: true });
      const begun = { schema: 'fretsaw/gc/v1', host: hostName(), pid, createdAt: new Date().toISOString() };
      writeFileSync(join(home, `store/gc/${n}/begun`), JSON.stringify(begun));
    };
    begin(await deadPid(), 1);
    await collect([]);
    begin(process.pid, 3);
    await expect(collect([])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', retryable: true });
  });
});

describe('a tombstone', () => {
  it('takes the bytes that no other artifact needs, at once, and says why ever after', async () => {
    const ref = await put(store, { own: 'only here', shared: 'both have it' });
    const other = await put(store, { shared: 'both have it' });
    const freed = await store.upkeep.bury(ref.digest, 'licence withdrawn');
    expect(freed.sharedBytes).toBe('both have it'.length);
    expect(freed.removedBytes).toBeGreaterThan('only here'.length);
    expect(await store.artifacts.missing(ref.digest)).toEqual(['(tombstone: licence withdrawn)']);
    expect(await store.artifacts.missing(other.digest)).toEqual([]);
    await expect(put(store, { own: 'only here', shared: 'both have it' })).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringContaining('licence withdrawn') as string,
    });
  });
});

describe('randomly, with concurrent puts, pins, collections and crashes', () => {
  it.each([1, 2, 3])(
    'what the store has promised is there (seed %i, one process)',
    async (seed) => {
      const promised: string[] = [];
      const say = (line: string): void => void promised.push(line);
      await Promise.all([0, 1, 2].map((n) => churn(home, seed * 100 + n, { steps: 12, say })));
      await expectKept(promised);
    },
    120_000,
  );

  it('what the store has promised is there when writers and collections are killed', async () => {
    const promised: string[] = [];
    for (let round = 0; round < 3; round++)
      promised.push(
        ...(
          await Promise.all([0, 1].map((n) => runAndKill(round * 2 + n, 300 + round * 170 + n * 90)))
        ).flat(),
      );
    expect(promised.length).toBeGreaterThan(0);
    await expectKept(promised);
  }, 180_000);
});

/** Each promise is read in full; then a last collection leaves all that and nothing else. */
async function expectKept(promised: string[]): Promise<void> {
  const digests = new Set(promised.map((line) => parseDigest(line.split(' ')[2] ?? '')));
  expect(digests.size).toBeGreaterThan(0);
  await store.upkeep.collect({ roots: () => store.upkeep.referred(), graceMs: 0, dryRun: false });
  for (const digest of digests) {
    expect(await store.artifacts.missing(digest)).toEqual([]);
    await store.artifacts.readFile(digest, 'model.safetensors'); // verified while read
  }
  // A pin may be left by a process that was killed before it knew whether it held.
  const referred = await store.upkeep.referred();
  expect((await store.artifacts.list()).filter((digest) => !referred.includes(digest))).toEqual([]);
  expect((await store.upkeep.verify({ depth: 'bytes' })).broken).toEqual([]);
}

function runAndKill(seed: number, delayMs: number): Promise<string[]> {
  const script = fileURLToPath(new URL('./store-churner.ts', import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', script, home, String(seed)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    let isTimed = false;
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (!isTimed) setTimeout(() => child.kill('SIGKILL'), delayMs);
      isTimed = true;
    });
    child.on('error', reject);
    child.on('close', () => {
      const lines = text.split('\n').slice(0, -1);
      resolve(lines.filter((line) => isDigest(line.split(' ')[2] ?? '')));
    });
  });
}

function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
  return new Promise((resolve) => {
    child.on('close', () => {
      resolve(child.pid ?? 0);
    });
  });
}
