import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bringRecord } from '../../lineage/brought-record.ts';
import { readGraph } from '../../lineage/graph.ts';
import { lookUp } from '../../lineage/look-up.ts';
import { publishRecord } from '../../lineage/publish.ts';
import { walkUp } from '../../lineage/walk-up.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { keyDocument, makeStage, put, requestOf } from './fixtures.ts';

const homes: string[] = [];
let there: Store;
let here: Store;
beforeEach(() => {
  there = open();
  here = open();
});
afterEach(() => {
  for (const home of homes.splice(0)) rmSync(home, { recursive: true, force: true });
});

function open(): Store {
  const home = mkdtempSync(join(tmpdir(), 'fretsaw-brought-'));
  homes.push(home);
  return openDiskStore({ home, domain: 'local', trusted: [] });
}

const training = keyDocument('pretrain', {}, { steps: 5 });

it('lineage goes on above an import that brought the record of its making', async () => {
  const made = await makeStage(there, training, 'weights');
  const { envelope = '' } = (await readGraph(there)).makersOf(made.digest)[0] ?? {};

  const imported = await put(here, 'weights');
  const document = keyDocument('import', {}, { type: 'checkpoint', digest: imported.digest });
  await publishRecord(here, requestOf(document, { outputs: { self: imported } }));
  await bringRecord(here.documents, { artifact: imported.digest, text: envelope, from: 'parent.json' });

  const graph = await readGraph(here);
  const [origin] = await walkUp(graph, imported.digest);
  expect(origin).toMatchObject({
    kind: 'made',
    making: { domain: 'brought', predicate: { document: training } },
  });
  expect(graph.makersOf(imported.digest).find(({ domain }) => domain === 'brought')?.envelope).toBe(envelope);
});

it('a record that was brought is never a hit', async () => {
  const made = await makeStage(there, training, 'weights');
  const making = (await readGraph(there)).makersOf(made.digest)[0];
  if (making === undefined) throw new Error('bug: no record');
  await put(here, 'weights');
  await bringRecord(here.documents, { artifact: made.digest, text: making.envelope, from: 'parent.json' });
  expect(await lookUp(here, making.key)).toEqual({ kind: 'none' });
});

it('the record of other bytes is refused and says what it made', async () => {
  const made = await makeStage(there, training, 'weights');
  const { envelope = '' } = (await readGraph(there)).makersOf(made.digest)[0] ?? {};
  const other = await put(here, 'other weights');
  await expect(
    bringRecord(here.documents, { artifact: other.digest, text: envelope, from: 'parent.json' }),
  ).rejects.toMatchObject({
    code: 'BAD_INPUT',
    message: `parent.json: expected the record that made ${other.digest}, found one of kind pretrain that made out ${made.digest}`,
  });
  expect(await here.documents.list('brought-records/')).toEqual([]);
});

it('a record whose key is not that of its key document is refused', async () => {
  const made = await makeStage(there, training, 'weights');
  const { envelope = '' } = (await readGraph(there)).makersOf(made.digest)[0] ?? {};
  const outer = JSON.parse(envelope) as { payload: string };
  const payload = Buffer.from(outer.payload, 'base64').toString('utf8').replace('"steps":5', '"steps":6');
  const altered = JSON.stringify({ ...outer, payload: Buffer.from(payload).toString('base64') });
  const bringing = bringRecord(here.documents, { artifact: made.digest, text: altered, from: 'parent.json' });
  await expect(bringing).rejects.toMatchObject({
    code: 'BAD_INPUT',
    message: expect.stringContaining('its key document has') as string,
  });
});
