import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { sizeOfConfig } from '../../cli/plan-sizes.ts';
import { recordedSizes } from '../../cli/recorded-sizes.ts';
import { storeLookups } from '../../cli/store-lookups.ts';
import { readGraph } from '../../lineage/graph.ts';
import { publishRecord } from '../../lineage/publish.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { digestOfText, keyDocument, makeStage, requestOf } from '../lineage/fixtures.ts';

const config = readFileSync(new URL('../../specs/rehearsal/parent/config.json', import.meta.url));
const parentSize = sizeOfConfig(config.toString('utf8'));

let home: string;
let store: Store;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-sizes-'));
  store = openDiskStore({ home, domain: 'local', trusted: [] });
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

it('reads the config.json of what a stage worked on, or of what that was made from', async () => {
  const files = new Map([['config.json', config]]);
  const parent = await store.artifacts.putFiles(files, { type: 'checkpoint' });
  const exported = keyDocument('export-onnx', { model: parent.digest });
  const onnx = await makeStage(store, exported, 'a graph without a config');
  const evaluated = keyDocument('evaluate', { onnx: onnx.digest, tasks: digestOfText('tasks') });
  await makeStage(store, evaluated, 'results');

  const sizeOf = recordedSizes(store, await readGraph(store));
  expect(parentSize?.parameters).toBeGreaterThan(1e6);
  expect(await sizeOf(exported)).toEqual(parentSize);
  expect(await sizeOf(evaluated)).toEqual(parentSize);
  expect(await sizeOf(keyDocument('command', { in: parent.digest }))).toBeUndefined();
  expect(await sizeOf(keyDocument('distill', { teacher: digestOfText('gone') }))).toBeUndefined();
});

it('comes with every record that a plan asks for', async () => {
  const files = new Map([['config.json', config]]);
  const parent = await store.artifacts.putFiles(files, { type: 'checkpoint' });
  const document = keyDocument('calibrate-kv', { model: parent.digest });
  await publishRecord(store, requestOf(document, { outputs: { checkpoint: parent } }));
  const [record] = await storeLookups(store, home).past(['calibrate-kv']);
  expect(record).toMatchObject({ stage: 'calibrate-kv', seconds: { seconds: 30 }, model: parentSize });
});
