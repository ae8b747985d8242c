import { mkdtempSync, readdirSync, rmSync, chmodSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../core/canonical-json.ts';
import { hexOf } from '../../core/digest.ts';
import { stageKey } from '../../core/keys.ts';
import { listDivergent } from '../../lineage/divergent.ts';
import { lookUp } from '../../lineage/look-up.ts';
import { publishRecord } from '../../lineage/publish.ts';
import { parseRecord } from '../../lineage/record-statement.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { attemptNote, keyDocument, put, requestOf, sha256 } from './fixtures.ts';

let home: string;
let store: Store;
const document = keyDocument('distill', {}, { tokens: 10 });
const key = stageKey(document, sha256);

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-publish-'));
  store = openDiskStore({ home, domain: 'local', trusted: [] });
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

function lease(attempt: number, run = 'run-1'): Promise<boolean> {
  const holder = { run, host: 'h', pid: 1 };
  return store.leases.create({
    schema: 'fretsaw/lease/v1',
    key,
    attempt,
    holder,
    createdAt: '2026-01-01T00:00:00.000Z',
  });
}

describe('publishing a record', () => {
  it('makes the key a hit and keeps the key document under its own hash', async () => {
    const out = await put(store, 'weights');
    expect(await lookUp(store, key)).toEqual({ kind: 'none' });
    const published = await publishRecord(store, requestOf(document, { outputs: { out } }));
    expect(published).toEqual({ kind: 'published', domain: 'local', generation: 1, outputs: { out } });
    const found = await lookUp(store, key);
    expect(found.kind).toBe('hit');
    const text = await store.documents.read(`keys/${hexOf(key)}`);
    expect(text).toBe(canonicalJson(document));
    expect(sha256(text ?? '')).toBe(hexOf(key));
  });

  it('is the same publication when the activity runs twice', async () => {
    const request = requestOf(document, { outputs: { out: await put(store, 'weights') } });
    const first = await publishRecord(store, request);
    expect(await publishRecord(store, request)).toEqual(first);
    expect(await store.records.history(key)).toHaveLength(1);
    expect(await listDivergent(store.documents, key)).toEqual([]);
  });

  it('gives the first record to whoever comes second and notes what that one made', async () => {
    const ours = await put(store, 'ours');
    const theirs = await put(store, 'theirs');
    await publishRecord(store, requestOf(document, { outputs: { out: theirs }, run: 'run-0' }));
    const published = await publishRecord(store, requestOf(document, { outputs: { out: ours } }));
    expect(published).toEqual({ kind: 'existing', domain: 'local', generation: 1, outputs: { out: theirs } });
    const [note] = await listDivergent(store.documents, key);
    expect(note).toMatchObject({
      attempt: 1,
      run: 'run-1',
      outputs: { out: ours },
      record: { generation: 1 },
    });
  });

  it('lets one of fifty win and gives all the same outputs', async () => {
    const outs = await Promise.all(Array.from({ length: 50 }, (_, n) => put(store, `bytes ${n}`)));
    const all = await Promise.all(
      outs.map((out, n) => publishRecord(store, requestOf(document, { outputs: { out }, run: `run-${n}` }))),
    );
    expect(all.filter(({ kind }) => kind === 'published')).toHaveLength(1);
    expect(new Set(all.map(({ outputs }) => outputs['out']?.digest)).size).toBe(1);
  });

  it('refuses an attempt that a higher one has fenced', async () => {
    await lease(1);
    await lease(2, 'run-2');
    const request = requestOf(document, { outputs: { out: await put(store, 'late') } });
    await expect(publishRecord(store, request)).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await store.records.latest(key)).toBeUndefined();
    const second = { ...request, attempts: [attemptNote(1, { outcome: 'failed' }), attemptNote(2)] };
    expect((await publishRecord(store, second)).kind).toBe('published');
  });

  it('refuses outputs whose bytes are not all there', async () => {
    const out = await put(store, 'gone');
    dropBlob(sha256('gone'));
    await expect(publishRecord(store, requestOf(document, { outputs: { out } }))).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  it('supersedes a record whose bytes were lost and says so', async () => {
    await publishRecord(store, requestOf(document, { outputs: { out: await put(store, 'lost') } }));
    dropBlob(sha256('lost'));
    expect(await lookUp(store, key)).toMatchObject({
      kind: 'fallen',
      reason: 'lost bytes: out lacks text.txt',
    });
    const again = requestOf(document, { outputs: { out: await put(store, 'made again') }, run: 'run-2' });
    expect(await publishRecord(store, again)).toMatchObject({ kind: 'published', generation: 2 });
    const found = await lookUp(store, key);
    expect(found).toMatchObject({
      kind: 'hit',
      predicate: { supersedes: { generation: 1, reason: 'lost bytes: out lacks text.txt' } },
    });
  });

  it('recomputes once, with the reason, however often the activity runs', async () => {
    await publishRecord(store, requestOf(document, { outputs: { out: await put(store, 'old') } }));
    const recompute = { generation: 2, reason: 'the cluster had bad memory' };
    const out = await put(store, 'new');
    const request = requestOf(document, { outputs: { out }, run: 'run-2', recompute });
    expect(await publishRecord(store, request)).toMatchObject({ kind: 'published', generation: 2 });
    expect(await publishRecord(store, request)).toMatchObject({
      kind: 'published',
      generation: 2,
      outputs: { out },
    });
    const history = (await store.records.history(key)).map(parseRecord);
    expect(history.map(({ supersedes }) => supersedes)).toEqual([
      undefined,
      { generation: 1, reason: recompute.reason },
    ]);
  });

  it('supersedes a corrupt record instead of failing for ever', async () => {
    await store.records.create(
      key,
      1,
      '{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}',
    );
    const published = await publishRecord(
      store,
      requestOf(document, { outputs: { out: await put(store, 'good') } }),
    );
    expect(published).toMatchObject({ kind: 'published', generation: 2 });
  });

  it('refuses a record whose key document has another key', async () => {
    const { record } = await store.records.create(key, 1, 'x');
    expect(record.envelope).toBe('x');
    const other = keyDocument('distill', {}, { tokens: 11 });
    await publishRecord(store, requestOf(other, { outputs: { out: await put(store, 'other') } }));
    const stored = await store.records.latest(stageKey(other, sha256));
    expect(() => parseRecord({ ...(stored ?? { domain: '', generation: 0, envelope: '' }), key })).toThrow(
      /key document has/,
    );
  });
});

function dropBlob(hex: string): void {
  const folder = join(home, 'store/blobs/sha256', hex.slice(0, 2));
  expect(readdirSync(folder)).toContain(hex);
  chmodSync(folder, 0o755);
  unlinkSync(join(folder, hex));
}
