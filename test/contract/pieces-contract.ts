import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ArtifactRef } from '../../core/artifact.ts';
import { artifactDigest } from '../../core/artifact.ts';
import { sha256Bytes, sha256Text } from '../../store/sha256.ts';
import type { Store } from '../../store/store.ts';
import { moeFile, noise, tensorFile } from './tensor-file.ts';
import type { OpenRig, StoreRig } from './store-rig.ts';

/** What every store does with files that are kept in pieces. */
export function describePieces(openRig: OpenRig): void {
  let rig: StoreRig;
  let store: Store;
  let folder: string;
  beforeEach(async () => {
    rig = await openRig();
    store = rig.open();
    folder = mkdtempSync(join(tmpdir(), 'fretsaw-pieces-'));
  });
  afterEach(async () => {
    await rig.dispose();
    rmSync(folder, { recursive: true, force: true });
  });
  async function put(files: Record<string, Uint8Array>, into = store): Promise<ArtifactRef> {
    const at = mkdtempSync(join(folder, 'in-'));
    for (const [path, bytes] of Object.entries(files)) writeFileSync(join(at, path), bytes);
    return into.artifacts.putFolder(at, { type: 'checkpoint' });
  }
  const sizeOf = async (names: readonly string[]): Promise<number> => {
    let sum = 0;
    for (const name of names) sum += (await rig.read(name)).length;
    return sum;
  };
  const parent = [range(12), range(12)];
  const child = [
    [0, 2, 3, 7, 8, 11],
    [1, 2, 5, 9, 10, 11],
  ];

  describe('cutting', () => {
    it('leaves the digest as it is, and gives every byte back', async () => {
      const bytes = moeFile(parent);
      const ref = await put({ 'model.safetensors': bytes });
      const entry = { path: 'model.safetensors', size: bytes.length, sha256: sha256Bytes(bytes) };
      expect(ref.digest).toBe(artifactDigest([entry], sha256Text));
      expect(await rig.objects('blobs')).toEqual([]);
      expect(Buffer.from(await store.artifacts.readFile(ref.digest, entry.path)).equals(bytes)).toBe(true);
      const view = await store.artifacts.view(ref.digest);
      expect(readFileSync(join(view, entry.path)).equals(bytes)).toBe(true);
    });

    it('puts all pieces of one (layer, expert) into one pack, so that a pruned child shares whole packs', async () => {
      await put({ 'model.safetensors': moeFile(parent) });
      const before = await rig.objects('packs');
      // 24 experts, 2 layers' other tensors, and the model's own (the header)
      expect(before).toHaveLength(24 + 2 + 1);
      await put({ 'model.safetensors': moeFile(child) });
      const fresh = (await rig.objects('packs')).filter((name) => !before.includes(name));
      // only the header and the routers' biases are new
      expect(await sizeOf(fresh)).toBeLessThan(4096);
      const layout = await layoutOf(await store.artifacts.list());
      const shared = layout.filter((name) => before.includes(name));
      expect(shared.length).toBeGreaterThanOrEqual(12);
    });

    it('finds known pieces from any process, by the layouts alone', async () => {
      await put({ 'model.safetensors': moeFile(parent) });
      await rig.forgetLocal();
      const other = rig.open();
      const before = await sizeOf(await rig.objects('packs'));
      const ref = await put({ 'model.safetensors': moeFile(child) }, other);
      expect((await sizeOf(await rig.objects('packs'))) - before).toBeLessThan(4096);
      expect(await other.artifacts.missing(ref.digest)).toEqual([]);
    });

    it('keeps an expert whose tensors lie in two shards in one pack', async () => {
      const tensor = (name: string, seed: string) => ({
        name: `model.layers.0.mlp.experts.${name}`,
        shape: [4, 300_000],
        bytes: noise(seed, 1_200_000),
      });
      await put({
        'model-00001-of-00002.safetensors': tensorFile([tensor('down_proj', 'a')]),
        'model-00002-of-00002.safetensors': tensorFile([tensor('gate_up_proj', 'b')]),
      });
      expect(await rig.objects('packs')).toHaveLength(4 + 1);
    });

    it('cuts other great files by their content: an insertion at the front costs a few chunks', async () => {
      const bytes = noise('dataset', 24 << 20);
      await put({ 'data.jsonl': bytes });
      const before = await sizeOf(await rig.objects('packs'));
      const longer = Buffer.concat([Buffer.from('one more line\n'), bytes]);
      const ref = await put({ 'data.jsonl': longer });
      expect((await sizeOf(await rig.objects('packs'))) - before).toBeLessThan(6 << 20);
      expect(Buffer.from(await store.artifacts.readFile(ref.digest, 'data.jsonl')).equals(longer)).toBe(true);
    });

    it('keeps bytes that only look like safetensors', async () => {
      const headers = [
        Buffer.alloc(8),
        Buffer.from('ffffffffffffff7f', 'hex'),
        Buffer.from('0200000000000000', 'hex'),
      ];
      const overlapping = tensorFile([{ name: 'a', shape: [9], bytes: noise('x', 2 << 20) }]);
      overlapping.write(JSON.stringify({ a: { dtype: 'U8', shape: [1], data_offsets: [5, 1] } }), 8);
      for (const [n, header] of [...headers, overlapping].entries()) {
        const bytes = Buffer.concat([header, noise(`tail ${n}`, 2 << 20)]);
        const { digest } = await put({ 'x.safetensors': bytes });
        expect(Buffer.from(await store.artifacts.readFile(digest, 'x.safetensors')).equals(bytes)).toBe(true);
      }
    });

    it('has one right state after ten writers of overlapping artifacts at once', async () => {
      const files = [parent, child].map((experts) => moeFile(experts));
      const refs = await Promise.all(
        range(10).map((n) => put({ 'model.safetensors': files[n % 2] ?? Buffer.alloc(0) }, rig.open())),
      );
      expect(new Set(refs.map(({ digest }) => digest)).size).toBe(2);
      for (const { digest } of refs) expect(await store.artifacts.missing(digest)).toEqual([]);
      for (const [n, ref] of refs.slice(0, 2).entries()) {
        const bytes = await store.artifacts.readFile(ref.digest, 'model.safetensors');
        expect(Buffer.from(bytes).equals(files[n] ?? Buffer.alloc(0))).toBe(true);
      }
    });
  });

  describe('pieces that went wrong', () => {
    const damages: [string, (bytes: Buffer) => Buffer][] = [
      ['a flipped bit', (bytes) => (bytes.writeUInt8(bytes.readUInt8(30_000) ^ 1, 30_000), bytes)],
      ['a truncated pack', (bytes) => bytes.subarray(0, bytes.length >> 1)],
      ['an empty pack', () => Buffer.alloc(0)],
    ];
    it.each(damages)(
      '%s is never returned, goes to quarantine, and is mended by putting again',
      async (_, change) => {
        const bytes = moeFile(parent);
        const ref = await put({ 'model.safetensors': bytes });
        const [pack = ''] = await greatPacks();
        await rig.damage(pack, change);
        await expect(store.artifacts.readFile(ref.digest, 'model.safetensors')).rejects.toMatchObject({
          code: 'CORRUPT',
        });
        expect(await store.artifacts.missing(ref.digest)).toEqual(['model.safetensors']);
        expect(await rig.objects('quarantine')).toHaveLength(1);
        await expect(store.artifacts.view(ref.digest)).rejects.toMatchObject({ code: 'NOT_FOUND' });
        await put({ 'model.safetensors': bytes });
        expect(await store.artifacts.missing(ref.digest)).toEqual([]);
        const again = await store.artifacts.readFile(ref.digest, 'model.safetensors');
        expect(Buffer.from(again).equals(bytes)).toBe(true);
      },
    );

    it('a pack that is gone is mended by an artifact that only shares it', async () => {
      const ref = await put({ 'model.safetensors': moeFile(child) });
      const [pack = ''] = await greatPacks();
      await rig.remove(pack);
      expect(await store.artifacts.missing(ref.digest)).toEqual(['model.safetensors']);
      await put({ 'model.safetensors': moeFile(parent) });
      expect(await store.artifacts.missing(ref.digest)).toEqual([]);
    });

    it('a layout that is broken goes to quarantine, and the next generation mends it', async () => {
      const bytes = moeFile(child);
      const ref = await put({ 'model.safetensors': bytes });
      const [layout = ''] = await rig.objects('layouts');
      await rig.damage(layout, (text) => text.subarray(0, text.length >> 1));
      expect(await rig.open().artifacts.missing(ref.digest)).toEqual(['model.safetensors']);
      await put({ 'model.safetensors': bytes });
      expect(await store.artifacts.missing(ref.digest)).toEqual([]);
    });

    it('a layout that lies about a piece gives CORRUPT, never other bytes', async () => {
      const ref = await put({ 'model.safetensors': moeFile(child) });
      const [layout = ''] = await rig.objects('layouts');
      await rig.damage(layout, (text) => swapTwoPieces(text));
      await expect(store.artifacts.readFile(ref.digest, 'model.safetensors')).rejects.toMatchObject({
        code: 'CORRUPT',
      });
    });
  });

  /** Packs that hold an expert, in order. */
  async function greatPacks(): Promise<string[]> {
    const all: string[] = [];
    for (const name of await rig.objects('packs'))
      if ((await rig.read(name)).length > 100_000) all.push(name);
    return all;
  }

  /** Names of the packs of the newest layout. */
  async function layoutOf(known: readonly string[]): Promise<string[]> {
    expect(known).toHaveLength(2);
    const texts: string[] = [];
    for (const name of await rig.objects('layouts'))
      texts.push(Buffer.from(await rig.read(name)).toString('utf8'));
    const smaller = texts.sort((a, b) => a.length - b.length)[0] ?? '';
    const { packs } = JSON.parse(smaller) as { packs: [string, number][] };
    return packs.map(([sha256]) => `packs/${sha256.slice(0, 2)}/${sha256}`);
  }
}

function swapTwoPieces(text: Buffer): Buffer {
  const layout = JSON.parse(text.toString('utf8')) as { pieces: unknown[] };
  const at = layout.pieces.length - 3;
  const [a, b] = layout.pieces.slice(at, at + 2);
  layout.pieces.splice(at, 2, b, a);
  return Buffer.from(JSON.stringify(layout));
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}
