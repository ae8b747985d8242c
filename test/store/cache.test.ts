import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskBackend } from '../../store/disk/disk-backend.ts';
import { createCache } from '../../store/layers/cache.ts';
import { createLayeredBackend } from '../../store/layers/layered-backend.ts';
import type { ObjectBackend } from '../../store/object-backend.ts';
import { sha256Bytes } from '../../store/sha256.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fretsaw-cache-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Another place, which counts what it is asked for. */
function counted(): { remote: ObjectBackend; reads: string[] } {
  const disk = createDiskBackend(join(folder, 'remote'));
  const reads: string[] = [];
  const remote: ObjectBackend = {
    ...disk,
    localPath: () => undefined,
    get: (name, range) => {
      reads.push(name);
      return disk.get(name, range);
    },
    stream: (name, range) => {
      reads.push(name);
      return disk.stream(name, range);
    },
    copyInto: (name, draft) => {
      reads.push(name);
      return disk.copyInto(name, draft);
    },
  };
  return { remote, reads };
}

const blob = (fill: string, sizeBytes = 1000): { name: string; content: Buffer } => {
  const content = Buffer.alloc(sizeBytes, fill);
  const hex = sha256Bytes(content);
  return { name: `blobs/sha256/${hex.slice(0, 2)}/${hex}`, content };
};

async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

describe('copies on this host', () => {
  it('are read instead of the other place, for all of an object and for parts of it', async () => {
    const { remote, reads } = counted();
    const { name, content } = blob('a');
    await remote.createMany([{ name, content }]);
    const layered = createLayeredBackend(remote, createCache(join(folder, 'cache'), 1 << 20));
    await layered.get(name, { start: 0, end: 10 });
    expect(reads).toHaveLength(1); // a part is no copy
    for (let n = 0; n < 3; n++) expect(await readAll(layered.stream(name))).toEqual(content);
    expect(await layered.get(name, { start: 3, end: 5 })).toHaveLength(2);
    expect(reads).toHaveLength(2);
    expect(layered.localPath(name)).toBeDefined();
  });

  it('are made once for many who want the same at once, and by what is written', async () => {
    const { remote, reads } = counted();
    const layered = createLayeredBackend(remote, createCache(join(folder, 'cache'), 1 << 20));
    const [a, b] = [blob('a'), blob('b')];
    await remote.createMany([a]);
    await Promise.all([1, 2, 3].map(() => readAll(layered.stream(a.name))));
    await layered.createMany([b]);
    expect(await readAll(layered.stream(b.name))).toEqual(b.content);
    expect(reads).toEqual([a.name]);
  });

  it('stay within their limit, and what was not used for longest goes first', async () => {
    const { remote } = counted();
    const layered = createLayeredBackend(remote, createCache(join(folder, 'cache'), 4500));
    const all = ['a', 'b', 'c', 'd'].map((fill) => blob(fill));
    for (const [n, one] of all.entries()) {
      await layered.createMany([one]);
      utimesSync(join(folder, 'cache', one.name), 1000 + n, 1000);
    }
    expect(layered.localPath(all[0]?.name ?? '')).toBeDefined(); // used now
    await layered.createMany([blob('e')]);
    const kept = all.map(({ name }) => layered.localPath(name) !== undefined);
    expect(kept).toEqual([true, false, true, true]);
    for (const { name, content } of all) expect(await readAll(layered.stream(name))).toEqual(content);
  });

  it('of what is greater than the limit are not made', async () => {
    const { remote } = counted();
    const layered = createLayeredBackend(remote, createCache(join(folder, 'cache'), 500));
    const great = blob('g');
    await layered.createMany([great]);
    expect(layered.localPath(great.name)).toBeUndefined();
    expect(await readAll(layered.stream(great.name))).toEqual(great.content);
  });

  it('that are wrong go, and the object stays', async () => {
    const { remote } = counted();
    const cache = createCache(join(folder, 'cache'), 1 << 20);
    const layered = createLayeredBackend(remote, cache);
    const { name, content } = blob('a');
    await remote.createMany([{ name, content }]);
    await cache.add([{ name, content: Buffer.from('wrong') }]);
    expect(await layered.get(name)).toHaveLength(5);
    await layered.quarantine(name);
    expect(await layered.get(name)).toEqual(content);
    expect(await remote.list('quarantine')).toEqual([]);
  });

  it('may be used by two processes, each of which makes room while the other reads', async () => {
    const { remote } = counted();
    const blobs = Array.from({ length: 12 }, (_, n) => blob(`${n}`, 300_000 + n));
    await remote.createMany(blobs);
    const user = fileURLToPath(new URL('./cache-user.ts', import.meta.url));
    const read = (step: number): Promise<{ stdout: string }> =>
      promisify(execFile)(process.execPath, [
        ...[
          '--import',
          'tsx',
          user,
          join(folder, 'remote'),
          join(folder, 'cache'),
          '1500000',
          '8',
          `${step}`,
        ],
      ]);
    const wrong = await Promise.all([read(1), read(5), read(7)]);
    expect(wrong.map(({ stdout }) => stdout.trim())).toEqual(['0', '0', '0']);
    expect(readdirSync(join(folder, 'cache', 'tmp'))).toEqual([]);
  }, 60_000);

  it('never say that something is there: the other place does', async () => {
    const { remote } = counted();
    const layered = createLayeredBackend(remote, createCache(join(folder, 'cache'), 1 << 20));
    const one = blob('a');
    await layered.createMany([one]);
    await remote.remove([one.name]);
    expect(await layered.head(one.name)).toBeUndefined();
    expect(await layered.headMany([one.name])).toEqual([undefined]);
  });
});
