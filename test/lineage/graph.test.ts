import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ArtifactRef } from '../../core/artifact.ts';
import { diffArtifacts } from '../../lineage/diff.ts';
import { readGraph } from '../../lineage/graph.ts';
import { impactOf } from '../../lineage/impact.ts';
import { writeImport } from '../../lineage/import.ts';
import { publishRecord } from '../../lineage/publish.ts';
import { walkUp } from '../../lineage/walk-up.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { attemptNote, digestOfText, keyDocument, makeStage, put, requestOf } from './fixtures.ts';

let home: string;
let store: Store;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-graph-'));
  store = openDiskStore({ home, domain: 'local', trusted: [] });
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

/** parent -> select -> child -> distilled, and parent -> distilled. */
async function pipeline(
  value: number,
): Promise<Record<'parent' | 'selected' | 'child' | 'distilled', ArtifactRef>> {
  const parent = await put(store, 'parent');
  const imported = keyDocument('import', {}, { type: 'checkpoint', digest: parent.digest });
  await publishRecord(store, requestOf(imported, { outputs: { self: parent } }));
  const run = { run: 'run-1', importedAt: '2026-01-01T00:00:00.000Z' };
  await writeImport(store.documents, {
    schema: 'fretsaw/import/v1',
    artifact: parent,
    location: './parent',
    ...run,
  });
  const select = keyDocument('select', { model: parent.digest }, { keep: value });
  const selected = await makeStage(store, select, `selection ${value}`);
  const assemble = keyDocument('assemble', { model: parent.digest, architecture: selected.digest });
  const child = await makeStage(store, assemble, `child ${value}`);
  const distill = keyDocument(
    'distill',
    { models: { teacher: parent.digest, student: child.digest } },
    { tokens: 5 },
  );
  const distilled = await makeStage(store, distill, `distilled ${value}`);
  return { parent, selected, child, distilled };
}

describe('walking up', () => {
  it('names every stage above an artifact once, nearest first, to where it was imported from', async () => {
    const { parent, selected, child, distilled } = await pipeline(1);
    const origins = await walkUp(await readGraph(store), distilled.digest);
    expect(origins.map(({ artifact }) => artifact)).toEqual(
      [distilled, parent, child, selected].map(({ digest }) => digest),
    );
    expect(origins[0]).toMatchObject({
      kind: 'made',
      output: 'out',
      inputs: [
        { name: 'models.teacher', digest: parent.digest },
        { name: 'models.student', digest: child.digest },
      ],
    });
    expect(origins[1]).toMatchObject({ kind: 'imported', imports: [{ location: './parent' }] });
  });

  it('says of bytes without a record that nobody knows', async () => {
    const { digest } = await put(store, 'stray');
    expect(await walkUp(await readGraph(store), digest)).toEqual([{ kind: 'unknown', artifact: digest }]);
  });

  it('counts as waste what no later attempt could build on', async () => {
    const out = await put(store, 'out');
    const failure = { code: 'PREEMPTED' as const, message: 'gone' };
    const attempts = [
      attemptNote(1, { outcome: 'failed', failure }),
      attemptNote(2, { outcome: 'failed', failure, resumedFrom: { attempt: 1, step: 10 } }),
      attemptNote(3, { resumedFrom: { attempt: 1, step: 10 } }),
    ];
    const request = requestOf(keyDocument('distill', {}), { outputs: { out }, attempts });
    await store.snapshots.create({
      ...{
        schema: 'fretsaw/snapshot-record/v1',
        key: request.key,
        attempt: 1,
        step: 10,
        artifact: out,
        state: {},
      },
      createdAt: '2026-01-01T00:01:20.000Z',
    });
    await publishRecord(store, request);
    const [origin] = await walkUp(await readGraph(store), out.digest);
    // Attempt 1 ran 30 s and its snapshot was taken after 20; attempt 2 ran 30 s for nothing.
    expect(origin).toMatchObject({ waste: { attempts: 3, failed: 2, totalSeconds: 90, wastedSeconds: 40 } });
  });

  it('says which other stages made the same bytes, and prefers a stage to the import of its output', async () => {
    const made = await makeStage(store, keyDocument('pretrain', {}), 'weights');
    const imported = keyDocument('import', {}, { digest: made.digest });
    await publishRecord(store, requestOf(imported, { outputs: { self: made }, attempts: [attemptNote(0)] }));
    const [origin] = await walkUp(await readGraph(store), made.digest);
    expect(origin).toMatchObject({
      kind: 'made',
      output: 'out',
      others: [{ predicate: { stage: 'import' } }],
    });
  });
});

describe('impact', () => {
  it('finds everything made from an artifact, with its distance and the way', async () => {
    const { parent, selected, child, distilled } = await pipeline(1);
    const affected = impactOf(await readGraph(store), selected.digest);
    expect(affected.map(({ making, distance }) => [making.predicate.stage, distance])).toEqual([
      ['assemble', 1],
      ['distill', 2],
    ]);
    expect(affected[0]?.through).toEqual([{ input: 'architecture', artifact: selected.digest }]);
    expect(affected[1]?.through).toEqual([{ input: 'models.student', artifact: child.digest }]);
    expect(impactOf(await readGraph(store), parent.digest)).toHaveLength(3);
    expect(impactOf(await readGraph(store), distilled.digest)).toEqual([]);
  });
});

describe('comparing two artifacts', () => {
  it('follows differing inputs up to the one setting that differs', async () => {
    const one = await pipeline(1);
    const two = await pipeline(2);
    const difference = await diffArtifacts(
      await readGraph(store),
      one.distilled.digest,
      two.distilled.digest,
    );
    expect(difference).toMatchObject({
      kind: 'makings',
      fields: [],
      circumstances: [],
      inputs: [
        {
          name: 'models.student',
          difference: {
            fields: [],
            inputs: [
              {
                name: 'architecture',
                difference: { fields: [{ field: 'with.keep', a: 1, b: 2 }], inputs: [] },
              },
            ],
          },
        },
      ],
    });
  });

  it('says how the runs differed when the same was asked for', async () => {
    const document = keyDocument('distill', {}, { tokens: 5 });
    const first = await makeStage(store, document, 'first');
    const out = await put(store, 'second');
    const attempts = [attemptNote(1, { code: digestOfText('other code'), versions: { node: '22' } })];
    const recompute = { generation: 2, reason: 'to see' };
    await publishRecord(store, requestOf(document, { outputs: { out }, attempts, recompute }));
    const difference = await diffArtifacts(await readGraph(store), first.digest, out.digest);
    expect(difference).toMatchObject({
      kind: 'makings',
      fields: [],
      inputs: [],
      circumstances: [
        { field: 'code', a: digestOfText('code'), b: digestOfText('other code') },
        { field: 'versions.node', a: '20', b: '22' },
      ],
    });
  });

  it('names inputs that only one of them has, and lists that differ in length', async () => {
    const [a, b] = [await put(store, 'a'), await put(store, 'b')];
    const one = await makeStage(store, keyDocument('average', { models: [a.digest, b.digest] }), 'one');
    const two = await makeStage(
      store,
      keyDocument('average', { models: [a.digest], extra: b.digest }),
      'two',
    );
    expect(await diffArtifacts(await readGraph(store), one.digest, two.digest)).toMatchObject({
      fields: [
        { field: 'inputs.models[1]', a: b.digest },
        { field: 'inputs.extra', b: b.digest },
      ],
    });
  });

  it('ends at imports and at bytes that nobody made, and says "same" of one artifact', async () => {
    const { parent, distilled } = await pipeline(1);
    const graph = await readGraph(store);
    const stray = await put(store, 'stray');
    expect(await diffArtifacts(graph, parent.digest, stray.digest)).toMatchObject({
      kind: 'origins',
      a: { kind: 'imported' },
      b: { kind: 'unknown' },
    });
    expect(await diffArtifacts(graph, distilled.digest, distilled.digest)).toMatchObject({ kind: 'same' });
  });
});

describe('the graph', () => {
  it('says which records it could not read instead of leaving them out in silence', async () => {
    await pipeline(1);
    const [key] = await store.records.keys();
    if (key === undefined) throw new Error('bug: no key');
    await store.records.create(key, 2, 'not an envelope');
    const graph = await readGraph(store);
    expect(graph.unreadable).toMatchObject([
      { where: expect.stringMatching(new RegExp(`${key}/2$`)) as string },
    ]);
    expect(graph.makings).toHaveLength(4);
  });
});
