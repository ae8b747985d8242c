import { afterEach, beforeEach, expect, it } from 'vitest';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Work } from '../../activities/execute-stage.ts';
import { JobFolder } from '../../activities/job-folder.ts';
import { uploadSnapshots } from '../../activities/snapshot-upload.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { keyOf } from '../contract/store-rig.ts';

const key = keyOf('training');
let root = '';
let store: Store;
let folder: JobFolder;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fretsaw-snapshots-'));
  store = openDiskStore({ home: root, domain: 'default', trusted: [] });
  folder = new JobFolder(join(root, 'work'), key, 1);
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function write(step: number): void {
  const path = folder.snapshot(step);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'snapshot.json'), JSON.stringify({ state: { step } }));
}

/** Only what an upload looks at. */
function work(resources: object): Work {
  return { deps: { store }, request: { key, resources } } as unknown as Work;
}

async function kept(): Promise<number[]> {
  return (await store.snapshots.list(key)).map(({ step }) => step);
}

it('stores what is new and lets go, here and in the store, what the policy does not keep', async () => {
  const policy = work({ keep_snapshots: 2, keep_every: 20 });
  for (const step of [10, 20, 30]) {
    write(step);
    await uploadSnapshots(policy, folder);
  }
  expect(await kept()).toEqual([30, 20]);
  write(40);
  write(50);
  await uploadSnapshots(policy, folder);
  expect(await kept()).toEqual([50, 40, 20]);
  expect([10, 20, 30, 40, 50].filter((step) => existsSync(folder.snapshot(step)))).toEqual([20, 40, 50]);
  await uploadSnapshots(policy, folder);
  expect(await kept()).toEqual([50, 40, 20]);
});

it('keeps every snapshot when no policy is given', async () => {
  for (const step of [1, 2, 3]) write(step);
  await uploadSnapshots(work({}), folder);
  expect(await kept()).toEqual([3, 2, 1]);
});
