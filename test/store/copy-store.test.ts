import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copyStore } from '../../store/copy-store.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { radosgwIsMissing } from '../support/radosgw.ts';
import { openS3StoreRig } from '../contract/s3-rig.ts';
import { keyOf, put } from '../contract/store-rig.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fretsaw-copy-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});
const onDisk = (name: string): Store =>
  openDiskStore({ home: join(folder, name), domain: 'local', trusted: [] });

/** Two artifacts with records of two generations, and a document. */
async function fill(store: Store): Promise<void> {
  await put(store, { a: 'one', great: 'g'.repeat(3 << 20) });
  await put(store, { a: 'one', b: 'two' });
  await store.records.create(keyOf('k'), 1, 'first');
  await store.records.create(keyOf('k'), 2, 'second');
  await store.documents.create('runs/r/plan', 'plan');
}

async function contentOf(store: Store): Promise<unknown> {
  const digests = await store.artifacts.list();
  return {
    digests,
    missing: [...(await store.artifacts.missingMany(digests)).values()].flat(),
    records: await store.records.history(keyOf('k')),
    plan: await store.documents.read('runs/r/plan'),
  };
}

const all = { documents: ['runs/'] };

describe('a copy of a store', () => {
  it('has all of it; made again it copies nothing', async () => {
    const [from, to] = [onDisk('from'), onDisk('to')];
    await fill(from);
    expect(await copyStore(from, to, all)).toMatchObject({
      artifacts: { copied: 2, there: 0 },
      records: { copied: 2, there: 0 },
      documents: { copied: 1, there: 0 },
      conflicts: [],
    });
    expect(await contentOf(to)).toEqual(await contentOf(from));
    expect(await copyStore(from, to, all)).toMatchObject({
      artifacts: { copied: 0, there: 2 },
      records: { copied: 0, there: 2 },
      documents: { copied: 0, there: 1 },
    });
  });

  it('never takes the place of a record that is there, and says so', async () => {
    const [from, to] = [onDisk('from'), onDisk('to')];
    await fill(from);
    await to.records.create(keyOf('k'), 1, 'theirs');
    const { conflicts, records } = await copyStore(from, to, all);
    expect(conflicts).toEqual([{ key: keyOf('k'), generation: 1 }]);
    expect(records.copied).toBe(1); // a later generation is one more
    expect((await to.records.history(keyOf('k')))[0]?.envelope).toBe('theirs');
  });

  it('of some artifacts has no others', async () => {
    const [from, to] = [onDisk('from'), onDisk('to')];
    await fill(from);
    const [one] = await from.artifacts.list();
    await copyStore(from, to, { artifacts: one === undefined ? [] : [one], keys: [], documents: [] });
    expect(await to.artifacts.list()).toEqual([one]);
    expect(await to.records.keys()).toEqual([]);
  });

  it.skipIf(radosgwIsMissing() !== undefined)(
    'goes to S3 and back with nothing changed',
    async () => {
      const rig = await openS3StoreRig();
      try {
        const from = onDisk('from');
        await fill(from);
        await copyStore(from, rig.open(), all);
        const back = onDisk('back');
        await copyStore(rig.open(), back, all);
        expect(await contentOf(back)).toEqual(await contentOf(from));
      } finally {
        await rig.dispose();
      }
    },
    300_000,
  );
});
