import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../store/store.ts';
import { keyOf, leaseOf, put, type OpenRig, type StoreRig } from './store-rig.ts';

const trust = (domain: string, ...trusted: string[]) => ({ domain, trusted });

/** What every store does with records, refs, leases, snapshots and documents. */
export function describeNames(openRig: OpenRig): void {
  let rig: StoreRig;
  let store: Store;
  beforeEach(async () => {
    rig = await openRig();
    store = rig.open();
  });
  afterEach(() => rig.dispose());
  const key = keyOf('a stage');

  describe('records', () => {
    it('hold by the highest generation, numerically', async () => {
      for (let n = 1; n <= 11; n++) await store.records.create(key, n, `record ${n}`);
      expect(await store.records.latest(key)).toMatchObject({ generation: 11, envelope: 'record 11' });
      expect((await store.records.history(key)).map(({ generation }) => generation)).toEqual(
        Array.from({ length: 11 }, (_, n) => n + 1),
      );
      expect(await store.records.keys()).toEqual([key]);
    });

    it('have one winner among fifty creators, and all learn who', async () => {
      const results = await Promise.all(
        Array.from({ length: 50 }, (_, n) => rig.open().records.create(key, 1, `from ${n}`)),
      );
      const winners = results.filter(({ created }) => created);
      expect(winners).toHaveLength(1);
      expect(new Set(results.map(({ record }) => record.envelope))).toEqual(
        new Set([winners[0]?.record.envelope]),
      );
    });

    it('count a lost race against equal bytes as created', async () => {
      expect((await store.records.create(key, 1, 'x')).created).toBe(true);
      expect((await store.records.create(key, 1, 'x')).created).toBe(true);
      expect((await store.records.create(key, 1, 'y')).created).toBe(false);
      expect((await store.records.latest(key))?.envelope).toBe('x');
    });

    it('take no generation below the highest', async () => {
      await store.records.create(key, 4, 'four');
      await expect(store.records.create(key, 2, 'two')).rejects.toMatchObject({ code: 'BAD_INPUT' });
      await expect(store.records.create(key, 0, 'none')).rejects.toMatchObject({ code: 'BAD_INPUT' });
    });

    it('of another domain count only when it is trusted, and after those of the own one', async () => {
      const ours = rig.open(trust('ours'));
      const theirs = rig.open(trust('theirs'));
      const both = rig.open(trust('ours', 'theirs'));
      await theirs.records.create(key, 1, 'theirs 1');
      await theirs.records.create(key, 2, 'theirs 2');
      expect(await ours.records.latest(key)).toBeUndefined();
      expect(await both.records.latest(key)).toMatchObject({ domain: 'theirs', generation: 2 });
      await both.records.create(key, 1, 'ours 1');
      expect(await both.records.latest(key)).toMatchObject({ domain: 'ours', generation: 1 });
      expect(await theirs.records.latest(key)).toMatchObject({ envelope: 'theirs 2' });
      expect(await both.records.history(key)).toHaveLength(3);
    });

    it('refuse a domain that is no name', () => {
      expect(() => rig.open(trust('../up'))).toThrow(/trust domain/);
    });
  });

  describe('refs', () => {
    it('move by generations and are listed by prefix', async () => {
      expect(await store.refs.read('spec/latest')).toBeUndefined();
      expect(await store.refs.create('spec/latest', 1, 'one')).toBe(true);
      expect(await store.refs.create('spec/latest', 1, 'other')).toBe(false);
      expect(await store.refs.create('spec/latest', 2, 'two')).toBe(true);
      await store.refs.create('spec', 1, 'a ref above another');
      await store.refs.create('other', 1, 'x');
      expect(await store.refs.read('spec/latest')).toEqual({ generation: 2, text: 'two' });
      expect(await store.refs.list('spec')).toEqual(['spec', 'spec/latest']);
      expect(await store.refs.list('')).toEqual(['other', 'spec', 'spec/latest']);
    });

    it.each(['../up', 'a/12/b', '.hidden', ''])('refuse the name %j', async (name) => {
      await expect(store.refs.create(name, 1, 'x')).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
    });
  });

  describe('leases', () => {
    it('are held by the highest attempt, and each attempt by exactly one of fifty', async () => {
      expect(await store.leases.latest(key)).toBeUndefined();
      const taken = await Promise.all(
        Array.from({ length: 50 }, () => rig.open().leases.create(leaseOf(key, 1))),
      );
      expect(taken.filter(Boolean)).toHaveLength(1);
      await store.leases.create(leaseOf(key, 2, 'next'));
      expect(await store.leases.latest(key)).toEqual(leaseOf(key, 2, 'next'));
    });
  });

  describe('snapshots', () => {
    const snapshot = async (attempt: number, step: number, text = `${attempt}/${step}`) => ({
      schema: 'fretsaw/snapshot-record/v1' as const,
      key,
      attempt,
      step,
      artifact: await put(store, { state: text }),
      state: { loss: 1.5, tokens: 10 },
      createdAt: '2026-01-01T00:00:00.000Z',
    });

    it('are listed newest step first, whoever took them', async () => {
      for (const [attempt, step] of [
        [1, 9],
        [1, 100],
        [2, 100],
        [2, 20],
      ] as const) {
        await store.snapshots.create(await snapshot(attempt, step));
      }
      const all = await store.snapshots.list(key);
      expect(all.map(({ attempt, step }) => [attempt, step])).toEqual([
        [2, 100],
        [1, 100],
        [2, 20],
        [1, 9],
      ]);
      expect(all[0]).toEqual(await snapshot(2, 100));
    });

    it('of a fenced attempt are refused', async () => {
      await store.leases.create(leaseOf(key, 1));
      await store.snapshots.create(await snapshot(1, 10));
      await store.leases.create(leaseOf(key, 2));
      await expect(store.snapshots.create(await snapshot(1, 20))).rejects.toMatchObject({
        code: 'LEASE_LOST',
      });
      expect(await store.snapshots.list(key)).toHaveLength(1);
    });

    it('may be written twice with the same bytes and never with others', async () => {
      await store.snapshots.create(await snapshot(1, 10));
      await store.snapshots.create(await snapshot(1, 10));
      await expect(store.snapshots.create(await snapshot(1, 10, 'other'))).rejects.toMatchObject({
        code: 'DIGEST_MISMATCH',
      });
    });
  });

  describe('documents', () => {
    it('are created once and listed by prefix', async () => {
      expect(await store.documents.create('runs/r1/plan', 'plan')).toBe(true);
      expect(await store.documents.create('runs/r1/plan', 'plan')).toBe(false);
      await store.documents.create('runs/r1/stages/evaluate[effort=low]', 's');
      await store.documents.create('runs/r10/plan', 'other');
      expect(await store.documents.read('runs/r1/plan')).toBe('plan');
      expect(await store.documents.read('runs/r2/plan')).toBeUndefined();
      expect(await store.documents.list('runs/r1/')).toEqual([
        'runs/r1/plan',
        'runs/r1/stages/evaluate[effort=low]',
      ]);
      expect(await store.documents.list('runs/r')).toHaveLength(3);
      expect(await store.documents.list('nothing/')).toEqual([]);
    });

    it.each(['records/local/x/1', 'blobs/sha256/aa/x', '../x', 'tmp/x', '/x', 'a/.hidden'])(
      'refuse the path %j',
      async (path) => {
        await expect(store.documents.create(path, 'x')).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
      },
    );
  });
}
