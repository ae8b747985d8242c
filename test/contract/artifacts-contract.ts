import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { artifactDigest } from '../../core/artifact.ts';
import { parseDigest } from '../../core/digest.ts';
import { sha256Bytes, sha256Text } from '../../store/sha256.ts';
import type { Store } from '../../store/store.ts';
import { blobName, files, put, type OpenRig, type StoreRig } from './store-rig.ts';

/** What every store does with artifacts. A backend's own test file calls this with its rig. */
export function describeArtifacts(openRig: OpenRig): void {
  let rig: StoreRig;
  let store: Store;
  let folder: string;
  beforeEach(async () => {
    rig = await openRig();
    store = rig.open();
    folder = mkdtempSync(join(tmpdir(), 'fretsaw-contract-'));
  });
  afterEach(async () => {
    await rig.dispose();
    rmSync(folder, { recursive: true, force: true });
  });
  const write = (path: string, bytes: string | Uint8Array): void => {
    mkdirSync(dirname(join(folder, 'in', path)), { recursive: true });
    writeFileSync(join(folder, 'in', path), bytes);
  };
  const putIn = (): ReturnType<Store['artifacts']['putFolder']> =>
    store.artifacts.putFolder(join(folder, 'in'), { type: 'checkpoint' });

  describe('keeping', () => {
    it('names an artifact by its files alone, however they came', async () => {
      write('b.txt', 'two');
      write('a/one.txt', 'one');
      const ref = await putIn();
      const entry = (path: string, text: string) => ({ path, size: text.length, sha256: sha256Text(text) });
      expect(ref).toEqual({
        digest: artifactDigest([entry('b.txt', 'two'), entry('a/one.txt', 'one')], sha256Text),
        type: 'checkpoint',
        sizeBytes: 6,
      });
      expect(await put(store, { 'b.txt': 'two', 'a/one.txt': 'one' }, 'checkpoint')).toEqual(ref);
      expect(await store.artifacts.list()).toEqual([ref.digest]);
    });

    it('gives back every byte of a folder, of names in other scripts, and of empty files', async () => {
      const contents = {
        'модель/веса.bin': 'a',
        '重み.txt': '',
        'e\u0301.txt': 'nfd',
        'é.txt': 'nfc',
        ' space ': ' ',
      };
      const ref = await put(store, contents);
      for (const [path, text] of Object.entries(contents)) {
        expect(Buffer.from(await store.artifacts.readFile(ref.digest, path)).toString()).toBe(text);
      }
      const view = await store.artifacts.view(ref.digest);
      for (const [path, text] of Object.entries(contents))
        expect(readFileSync(join(view, path), 'utf8')).toBe(text);
    });

    it('keeps an artifact without files', async () => {
      mkdirSync(join(folder, 'in/only/folders'), { recursive: true });
      const ref = await putIn();
      expect(ref.sizeBytes).toBe(0);
      expect(await store.artifacts.missing(ref.digest)).toEqual([]);
      expect(statSync(await store.artifacts.view(ref.digest)).isDirectory()).toBe(true);
    });

    it('passes files of several mebibytes through without holding them', async () => {
      const bytes = Buffer.alloc((3 << 20) + 17, 'not all the same ');
      write('weights.bin', bytes);
      write('again.bin', bytes);
      const ref = await putIn();
      expect(Buffer.from(await store.artifacts.readFile(ref.digest, 'weights.bin')).equals(bytes)).toBe(true);
      expect(readFileSync(join(await store.artifacts.view(ref.digest), 'again.bin')).equals(bytes)).toBe(
        true,
      );
      expect(await rig.objects('blobs')).toHaveLength(1);
    });

    it('keeps equal bytes once, across artifacts', async () => {
      await put(store, { a: 'same', b: 'same' });
      await put(store, { c: 'same', d: 'other' });
      expect(await rig.objects('blobs')).toEqual([blobName('same'), blobName('other')].sort());
    });

    it('says the same digest to ten writers of overlapping artifacts at once', async () => {
      const big = Buffer.alloc(2 << 20, 'x');
      const all = await Promise.all(
        Array.from({ length: 10 }, () =>
          rig
            .open()
            .artifacts.putFiles(new Map([['big', big], ...files({ small: 's' })]), { type: 'folder' }),
        ),
      );
      expect(new Set(all.map(({ digest }) => digest)).size).toBe(1);
      expect(await rig.objects('blobs')).toHaveLength(2);
      expect(await store.artifacts.missing(all[0]?.digest ?? parseDigest(''))).toEqual([]);
    });

    it('is done again without harm', async () => {
      const ref = await put(store, { a: '1' });
      expect(await put(store, { a: '1' })).toEqual(ref);
    });

    it('round-trips any artifact', async () => {
      const path = fc
        .array(
          fc.stringMatching(/^[a-zA-Zа-я0-9_. -]{1,8}$/).filter((s) => !/^\.{1,2}$/.test(s)),
          { minLength: 1, maxLength: 3 },
        )
        .map((segments) => segments.join('/'));
      const artifact = fc.dictionary(path, fc.uint8Array({ maxLength: 300 }), { maxKeys: 6 });
      await fc.assert(
        fc.asyncProperty(artifact, async (contents) => {
          const all = new Map(Object.entries(contents));
          const paths = [...all.keys()];
          fc.pre(!paths.some((one) => paths.some((other) => other.startsWith(`${one}/`))));
          const ref = await store.artifacts.putFiles(all, { type: 'folder' });
          const manifest = await store.artifacts.manifest(ref.digest);
          expect(manifest?.files.map((file) => file.path)).toEqual(paths.sort());
          for (const [at, bytes] of all) {
            expect(
              Buffer.from(await store.artifacts.readFile(ref.digest, at)).equals(Buffer.from(bytes)),
            ).toBe(true);
          }
        }),
        { numRuns: 40 },
      );
    });
  });

  describe('a promise of what the files are', () => {
    const promise = (path: string, text: string) => ({ path, size: text.length, sha256: sha256Text(text) });

    it('is held against what is there: changed, absent and additional files are refused', async () => {
      write('a', 'one');
      const options = { type: 'folder' as const };
      const putting = (expected: ReturnType<typeof promise>[]) =>
        store.artifacts.putFolder(join(folder, 'in'), { ...options, expected });
      await expect(putting([promise('a', 'two')])).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
      await expect(putting([])).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
      await expect(putting([promise('a', 'one'), promise('b', '')])).rejects.toMatchObject({
        code: 'DIGEST_MISMATCH',
      });
      expect(await store.artifacts.list()).toEqual([]);
      await putting([promise('a', 'one')]);
    });

    it('is held against a great file too, even when the store has the promised bytes', async () => {
      const bytes = Buffer.alloc((2 << 20) + 1, 'a');
      const expected = [{ path: 'w', size: bytes.length, sha256: sha256Bytes(bytes) }];
      write('w', bytes);
      await store.artifacts.putFolder(join(folder, 'in'), { type: 'folder', expected });
      bytes[5] = 0;
      write('w', bytes);
      await expect(
        store.artifacts.putFolder(join(folder, 'in'), { type: 'folder', expected }),
      ).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    });
  });

  describe('unsafe paths', () => {
    it.each([
      '../up',
      '/absolute',
      'a/../../up',
      'a//b',
      './a',
      '',
      'a/',
      'line\nbreak',
      'back\\slash',
      'a\u0000b',
    ])('refuses the path %j', async (path) => {
      await expect(put(store, { [path]: 'x' })).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
      expect(await store.artifacts.list()).toEqual([]);
    });

    it('refuses a path that is a file and a folder', async () => {
      await expect(put(store, { a: '1', 'a/b': '2' })).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
    });

    it('refuses links that leave the folder, dangle or name a folder; a link to a file inside is that file', async () => {
      write('real.txt', 'real');
      symlinkSync('real.txt', join(folder, 'in/link.txt'));
      const ref = await putIn();
      expect(Buffer.from(await store.artifacts.readFile(ref.digest, 'link.txt')).toString()).toBe('real');
      writeFileSync(join(folder, 'secret'), 'secret');
      for (const target of ['../secret', join(folder, 'secret'), 'nothing', '.']) {
        symlinkSync(target, join(folder, 'in/bad'));
        await expect(putIn()).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
        rmSync(join(folder, 'in/bad'));
      }
    });

    it('refuses a stored manifest that would write outside the folder', async () => {
      const file = { path: '../up', sha256: sha256Text('x'), size: 1 };
      const digest = artifactDigest([file], sha256Text);
      const good = await put(store, { a: 'x' });
      const name = (hex: string): string => `artifacts/${hex.slice(7, 9)}/${hex.slice(7)}`;
      await rig.damage(name(good.digest), () =>
        Buffer.from(JSON.stringify({ schema: 'fretsaw/manifest/v1', type: 'folder', files: [file] })),
      );
      expect(digest).not.toBe(good.digest);
      await expect(store.artifacts.export(good.digest, join(folder, 'out'))).rejects.toMatchObject({
        code: expect.stringMatching(/UNSAFE_PATH|CORRUPT/) as string,
      });
    });
  });

  describe('bytes that went wrong', () => {
    const damages: [string, (bytes: Buffer) => Buffer][] = [
      ['a flipped bit', (bytes) => (bytes.writeUInt8(bytes.readUInt8(3) ^ 1, 3), bytes)],
      ['a truncated blob', (bytes) => bytes.subarray(0, bytes.length - 1)],
      ['an empty blob', () => Buffer.alloc(0)],
      ['a blob with more bytes', (bytes) => Buffer.concat([bytes, Buffer.from('!')])],
    ];
    it.each(damages)('%s is never returned, goes to quarantine, and can be put again', async (_, change) => {
      const ref = await put(store, { good: 'good', bad: 'the bytes' });
      await rig.damage(blobName('the bytes'), change);
      await expect(store.artifacts.readFile(ref.digest, 'bad')).rejects.toMatchObject({ code: 'CORRUPT' });
      expect(await store.artifacts.missing(ref.digest)).toEqual(['bad']);
      expect(await rig.objects('quarantine')).toHaveLength(1);
      await expect(store.artifacts.view(ref.digest)).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await put(store, { bad: 'the bytes' });
      expect(await store.artifacts.missing(ref.digest)).toEqual([]);
      expect(readFileSync(join(await store.artifacts.view(ref.digest), 'bad'), 'utf8')).toBe('the bytes');
    });

    it.each(damages)('%s never reaches a view or an export', async (_, change) => {
      const ref = await put(store, { bad: 'the bytes' });
      await rig.damage(blobName('the bytes'), change);
      await expect(store.artifacts.view(ref.digest)).rejects.toMatchObject({ code: 'CORRUPT' });
      await expect(store.artifacts.export(ref.digest, join(folder, 'out'))).rejects.toMatchObject({
        code: 'NOT_FOUND',
      });
      expect(() => statSync(join(folder, 'out'))).toThrow();
    });

    it('a blob of another size is missing at a glance, and putting it again mends it', async () => {
      const ref = await put(store, { a: 'the bytes' });
      await rig.damage(blobName('the bytes'), () => Buffer.from('short'));
      expect(await store.artifacts.missing(ref.digest)).toEqual(['a']);
      await put(store, { a: 'the bytes' });
      expect(Buffer.from(await store.artifacts.readFile(ref.digest, 'a')).toString()).toBe('the bytes');
    });

    it('a blob that is gone is missing, and NOT_FOUND when read', async () => {
      const ref = await put(store, { a: '1', b: '2' });
      await rig.remove(blobName('2'));
      expect(await store.artifacts.missing(ref.digest)).toEqual(['b']);
      await expect(store.artifacts.readFile(ref.digest, 'b')).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(store.artifacts.view(ref.digest)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    it('an artifact that the store never saw has no manifest and is missing', async () => {
      const digest = parseDigest(`sha256:${'0'.repeat(64)}`);
      expect(await store.artifacts.manifest(digest)).toBeUndefined();
      expect(await store.artifacts.missing(digest)).toEqual(['(manifest)']);
      await expect(store.artifacts.readFile(digest, 'a')).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(store.artifacts.view(digest)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    it('a manifest with another file list is CORRUPT, then missing, then mended by the next put', async () => {
      const ref = await put(store, { a: '1' });
      const [name = ''] = await rig.objects('artifacts');
      await rig.damage(name, (bytes) => Buffer.from(bytes.toString().replace('"a"', '"b"')));
      await expect(store.artifacts.readFile(ref.digest, 'a')).rejects.toMatchObject({ code: 'CORRUPT' });
      expect(await store.artifacts.missing(ref.digest)).toEqual(['(manifest)']);
      await put(store, { a: '1' });
      expect(await store.artifacts.missing(ref.digest)).toEqual([]);
    });
  });

  describe('views and exports', () => {
    it('a view is made once and shared by concurrent callers', async () => {
      const ref = await put(store, { 'a/b': '1', c: '2' });
      const paths = await Promise.all([1, 2, 3, 4].map(() => rig.open().artifacts.view(ref.digest)));
      expect(new Set(paths).size).toBe(1);
      const before = statSync(join(paths[0] ?? '', 'c')).ino;
      expect(statSync(join(await store.artifacts.view(ref.digest), 'c')).ino).toBe(before);
      expect(statSync(join(paths[0] ?? '', 'c')).mode & 0o777).toBe(0o444);
    });

    it.each([
      [
        'overwritten in place',
        (path: string) => {
          writeFileSync(path, 'X');
        },
      ],
      [
        'removed',
        (path: string) => {
          rmSync(path);
        },
      ],
      [
        'joined by another file',
        (path: string) => {
          writeFileSync(`${path}.extra`, '');
        },
      ],
    ])('a view in which a file was %s is made anew, and the store is untouched', async (_, change) => {
      const ref = await put(store, { a: '1' });
      const path = await store.artifacts.view(ref.digest);
      chmodSync(join(path, 'a'), 0o644);
      change(join(path, 'a'));
      const again = await store.artifacts.view(ref.digest);
      expect(readFileSync(join(again, 'a'), 'utf8')).toBe('1');
      expect(() => statSync(join(again, 'a.extra'))).toThrow();
      expect(Buffer.from(await store.artifacts.readFile(ref.digest, 'a')).toString()).toBe('1');
    });

    it('an export is a private copy: writing to it changes neither store nor view', async () => {
      const ref = await put(store, { 'a/b': '1' });
      const out = join(folder, 'out');
      await store.artifacts.export(ref.digest, out);
      writeFileSync(join(out, 'a/b'), 'mine');
      expect(Buffer.from(await store.artifacts.readFile(ref.digest, 'a/b')).toString()).toBe('1');
      await expect(store.artifacts.export(ref.digest, out)).rejects.toMatchObject({ code: 'BAD_INPUT' });
    });
  });
}
