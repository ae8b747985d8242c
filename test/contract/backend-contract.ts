import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ObjectBackend } from '../../store/object-backend.ts';

export interface BackendRig {
  open(): ObjectBackend;
  dispose(): Promise<void>;
}

const bytesOf = (text: string): Uint8Array => Buffer.from(text);
const textOf = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString('utf8');

async function read(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk)); // a copy: chunks may be reused
  return Buffer.concat(parts).toString('utf8');
}

/** What every place that keeps bytes under names does. A backend's own test file calls this with its rig. */
export function describeBackend(openRig: () => Promise<BackendRig>): void {
  let rig: BackendRig;
  let backend: ObjectBackend;
  beforeEach(async () => {
    rig = await openRig();
    backend = rig.open();
  });
  afterEach(() => rig.dispose());

  it('gives all of an object, a part of it, and what is there of a part that goes beyond its end', async () => {
    await backend.createMany([{ name: 'blobs/a', content: bytesOf('0123456789') }]);
    expect(textOf(await backend.get('blobs/a'))).toBe('0123456789');
    expect(textOf(await backend.get('blobs/a', { start: 2, end: 5 }))).toBe('234');
    expect(textOf(await backend.get('blobs/a', { start: 8, end: 50 }))).toBe('89');
    expect(textOf(await backend.get('blobs/a', { start: 3, end: 3 }))).toBe('');
    expect(await read(backend.stream('blobs/a'))).toBe('0123456789');
    expect(await read(backend.stream('blobs/a', { start: 7, end: 9 }))).toBe('78');
    expect(await backend.get('blobs/b')).toBeUndefined();
    await expect(read(backend.stream('blobs/b'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('keeps an object without bytes', async () => {
    await backend.createMany([{ name: 'blobs/empty', content: new Uint8Array() }]);
    expect(await backend.head('blobs/empty')).toEqual({ sizeBytes: 0 });
    expect(textOf(await backend.get('blobs/empty'))).toBe('');
    expect(await read(backend.stream('blobs/empty'))).toBe('');
  });

  it('copies a whole object into a draft, whatever its size', async () => {
    const great = Buffer.from(Array.from({ length: 9 << 20 }, (_, n) => (n * 31) % 251));
    const objects = {
      'blobs/none': Buffer.alloc(0),
      'blobs/few': Buffer.from('0123456789'),
      'blobs/great': great,
    };
    await backend.createMany(Object.entries(objects).map(([name, content]) => ({ name, content })));
    for (const [name, content] of Object.entries(objects)) {
      const draft = await backend.draft();
      await backend.copyInto(name, draft);
      expect(draft.sizeBytes).toBe(content.length);
      await backend.createMany([{ name: `${name}-copy`, content: draft }]);
      expect(Buffer.compare((await backend.get(`${name}-copy`)) ?? Buffer.from('absent'), content)).toBe(0);
    }
    const draft = await backend.draft();
    await expect(backend.copyInto('blobs/absent', draft)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await draft.discard();
  });

  it('tells sizes of many names in their order, however many', async () => {
    const names = Array.from({ length: 300 }, (_, n) => `blobs/${(n * 7919) % 1000}`);
    await backend.createMany(names.map((name) => ({ name, content: bytesOf(name) })));
    const asked = [...names, 'blobs/none', 'other/none'].reverse();
    const found = await backend.headMany(asked);
    expect(found).toEqual(
      asked.map((name) => (name.endsWith('none') ? undefined : { sizeBytes: name.length })),
    );
    expect(await backend.headMany([])).toEqual([]);
  });

  it('never changes the bytes of a name that is taken', async () => {
    expect(await backend.create('refs/x/1', bytesOf('first'))).toBe(true);
    expect(await backend.create('refs/x/1', bytesOf('second'))).toBe(false);
    await backend.createMany([{ name: 'refs/x/1', content: bytesOf('third') }]);
    expect(textOf(await backend.get('refs/x/1'))).toBe('first');
  });

  it('publishes a draft whole, and nothing of one that is thrown away', async () => {
    const draft = await backend.draft();
    for (let n = 0; n < 40; n++) await draft.write(Buffer.alloc(100_000, `${n}`.padStart(2)));
    expect(draft.sizeBytes).toBe(4_000_000);
    expect(await backend.list('blobs')).toEqual([]);
    await backend.createMany([{ name: 'blobs/great', content: draft }], {
      name: 'artifacts/last',
      content: bytesOf('last'),
    });
    expect(await backend.head('blobs/great')).toEqual({ sizeBytes: 4_000_000 });
    expect((await read(backend.stream('blobs/great'))).slice(-4)).toBe('3939');
    expect(textOf(await backend.get('artifacts/last'))).toBe('last');
    const thrown = await backend.draft();
    await thrown.write(bytesOf('x'));
    await thrown.discard();
    await thrown.discard();
    expect(await backend.list('blobs')).toEqual(['blobs/great']);
  });

  it('lists names below a folder, with sizes and ages, and the next segments', async () => {
    const names = ['a/b/1', 'a/b/2', 'a/c', 'ab/1', 'a/b 3', 'a/д'];
    await backend.createMany(names.map((name) => ({ name, content: bytesOf(name) })));
    expect(await backend.list('a')).toEqual(['a/b 3', 'a/b/1', 'a/b/2', 'a/c', 'a/д'].sort());
    expect(await backend.list('a/b')).toEqual(['a/b/1', 'a/b/2']);
    expect((await backend.children('a')).sort()).toEqual(['b', 'b 3', 'c', 'д']);
    expect(await backend.list('none')).toEqual([]);
    expect(await backend.children('none')).toEqual([]);
    const infos = [];
    for await (const info of backend.listInfo('a/b')) infos.push(info);
    expect(infos.map(({ name, sizeBytes }) => ({ name, sizeBytes }))).toEqual([
      { name: 'a/b/1', sizeBytes: 5 },
      { name: 'a/b/2', sizeBytes: 5 },
    ]);
    for (const { modifiedAtMs } of infos) expect(Math.abs(Date.now() - modifiedAtMs)).toBeLessThan(600_000);
  });

  it('removes what it is told to, and what is not there without a word', async () => {
    const names = Array.from({ length: 30 }, (_, n) => `packs/${n}`);
    await backend.createMany(names.map((name) => ({ name, content: bytesOf(name) })));
    await backend.remove([...names.slice(1), 'packs/none']);
    expect(await backend.list('packs')).toEqual(['packs/0']);
    await backend.remove([]);
  });

  it('takes a broken object out of sight and keeps its bytes', async () => {
    await backend.createMany([{ name: 'blobs/broken', content: bytesOf('broken') }]);
    await backend.quarantine('blobs/broken');
    expect(await backend.head('blobs/broken')).toBeUndefined();
    const [kept = ''] = await backend.list('quarantine');
    expect(textOf(await backend.get(kept))).toBe('broken');
    await backend.quarantine('blobs/none');
  });

  describe('create', () => {
    it('has one winner among twenty at once, in each of ten races', async () => {
      for (let race = 0; race < 10; race++) {
        const all = await Promise.all(
          Array.from({ length: 20 }, (_, n) => rig.open().create(`refs/r/${race}`, bytesOf(`${n % 2}`))),
        );
        expect(all.filter(Boolean)).toHaveLength(1);
      }
    });
  });
}
