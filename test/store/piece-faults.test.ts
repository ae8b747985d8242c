import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskBackend } from '../../store/disk/disk-backend.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { createPackWriter } from '../../store/pieces/pack-writer.ts';
import { createPieceIndex } from '../../store/pieces/piece-index.ts';
import { putChunked, putPlanned, type PieceIntake } from '../../store/pieces/put-in-pieces.ts';
import { openSource, stepBytes } from '../../store/read-source.ts';
import { mountSmall } from '../support/small-disk.ts';
import { moeFile, noise } from '../contract/tensor-file.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-pieces-'));
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});
const open = (at = home) => openDiskStore({ home: at, domain: 'local', trusted: [] });

function folderWith(name: string, bytes: Buffer): string {
  const folder = join(home, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'model.safetensors'), bytes);
  return folder;
}

describe('a disk that fails under packs', () => {
  const parent = moeFile([[1, 2, 3, 4, 5, 6, 7, 8]]);
  const grown = moeFile([
    Array.from({ length: 64 }, (_, expert) => expert),
    Array.from({ length: 64 }, (_, expert) => expert),
  ]);

  it('when full says DISK_FULL, names nothing that is not there, and goes on when there is room', async (context) => {
    const disk = mountSmall(home, 16 << 10);
    if (disk === undefined) return context.skip('mounting needs root');
    try {
      const store = open(disk.path);
      const kept = await store.artifacts.putFolder(folderWith('parent', parent), { type: 'checkpoint' });
      const great = folderWith('grown', grown);
      await expect(store.artifacts.putFolder(great, { type: 'checkpoint' })).rejects.toMatchObject({
        code: 'DISK_FULL',
        retryable: false,
      });
      expect(await store.artifacts.list()).toEqual([kept.digest]);
      expect(await store.artifacts.missing(kept.digest)).toEqual([]);
      expect(readdirSync(join(disk.path, 'store/tmp'))).toEqual([]);
      disk.remount('size=64m');
      const { digest } = await open(disk.path).artifacts.putFolder(great, { type: 'checkpoint' });
      const found = await open(disk.path).artifacts.readFile(digest, 'model.safetensors');
      expect(grown.equals(found)).toBe(true);
    } finally {
      disk.unmount();
    }
  });

  it('when read-only gives every tensor back, and says that it can keep no more', async (context) => {
    const disk = mountSmall(home, 64 << 10);
    if (disk === undefined) return context.skip('mounting needs root');
    try {
      const folder = folderWith('parent', parent);
      const { digest } = await open(disk.path).artifacts.putFolder(folder, { type: 'checkpoint' });
      disk.remount('ro');
      const store = open(disk.path);
      expect(parent.equals(await store.artifacts.readFile(digest, 'model.safetensors'))).toBe(true);
      const tensor = { name: 'model.layers.0.mlp.experts.down_proj_blocks', expert: 3 };
      expect((await store.artifacts.readTensor(digest, tensor)).shape).toEqual([48 << 10]);
      await expect(
        store.artifacts.putFolder(folderWith('grown', grown), { type: 'checkpoint' }),
      ).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', retryable: true });
      await expect(store.artifacts.view(digest)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    } finally {
      disk.unmount();
    }
  });
});

describe('a great file that changes while it is cut', () => {
  const bytes = noise('a great file', 3 << 20);
  const whole = [1 << 20, 1000, 3000, (2 << 20) - 4000].map((length) => ({ length, group: 'model' }));

  /** Cuts the file after `change` was done to it, which comes when it is open and nothing of it is read. */
  async function cutAfter(change: (path: string) => void, how: 'planned' | 'chunked'): Promise<unknown> {
    const path = join(folderWith('in', bytes), 'model.safetensors');
    const backend = createDiskBackend(join(home, 'store'));
    const index = createPieceIndex(backend, undefined);
    const packs = createPackWriter(backend, index);
    const intake: PieceIntake = { packs, index, left: new Map([['model', whole.length]]) };
    const source = openSource({ path: 'model.safetensors', source: path, sizeBytes: bytes.length });
    change(path);
    try {
      return how === 'planned'
        ? await putPlanned(intake, source, whole)
        : await putChunked(intake, source, 'model');
    } finally {
      source.close();
      await packs.discard();
    }
  }

  it.each(['planned', 'chunked'] as const)('is kept when nothing happens to it (%s)', async (how) => {
    await expect(cutAfter(() => undefined, how)).resolves.toMatchObject({ sizeBytes: bytes.length });
  });

  it.each(['planned', 'chunked'] as const)(
    'is CORRUPT when it becomes shorter or longer (%s)',
    async (how) => {
      const corrupt = {
        code: 'CORRUPT',
        message: expect.stringContaining('changed while it was read') as string,
      };
      for (const sizeBytes of [0, 100, stepBytes, 2 << 20]) {
        await expect(
          cutAfter((path) => {
            truncateSync(path, sizeBytes);
          }, how),
        ).rejects.toMatchObject(corrupt);
        rmSync(join(home, 'in'), { recursive: true });
      }
      await expect(
        cutAfter((path) => {
          appendFileSync(path, 'more');
        }, how),
      ).rejects.toMatchObject(corrupt);
      rmSync(join(home, 'in'), { recursive: true });
      const inPlace = (path: string): void => {
        execFileSync(
          'dd',
          ['if=/dev/zero', `of=${path}`, 'bs=1', 'count=1', 'seek=2000000', 'conv=notrunc'],
          {
            stdio: 'ignore',
          },
        );
      };
      await expect(cutAfter(inPlace, how)).rejects.toMatchObject(corrupt);
    },
  );

  it('that was shorter already when it was opened than when it was found is CORRUPT, too', async () => {
    const path = join(folderWith('in', bytes.subarray(0, 1 << 20)), 'model.safetensors');
    const backend = createDiskBackend(join(home, 'store'));
    const index = createPieceIndex(backend, undefined);
    const packs = createPackWriter(backend, index);
    const source = openSource({ path: 'model.safetensors', source: path, sizeBytes: bytes.length });
    const intake: PieceIntake = { packs, index, left: new Map([['model', whole.length]]) };
    await expect(putPlanned(intake, source, whole)).rejects.toMatchObject({ code: 'CORRUPT' });
    source.close();
    await packs.discard();
  });
});
