import { mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Work } from '../../activities/execute-stage.ts';
import { JobFolder } from '../../activities/job-folder.ts';
import type { Launcher } from '../../activities/launchers/launcher.ts';
import { StageMetrics } from '../../activities/metrics.ts';
import { superviseJob } from '../../activities/supervise-job.ts';
import { Failure } from '../../core/errors.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { keyOf, leaseOf } from '../contract/store-rig.ts';
import { stageRequest } from '../support/workflow-rig.ts';

const key = keyOf('training');
let root = '';
let store: Store;
let folder: JobFolder;
/** Of the job: `end` ends it, `beats` are what Temporal heard. */
let beats: unknown[] = [];
let isRunning = true;
let stops = 0;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fretsaw-supervise-'));
  store = openDiskStore({ home: root, domain: 'local', trusted: [] });
  folder = new JobFolder(join(root, 'work'), key, 1);
  mkdirSync(folder.path, { recursive: true });
  writeFileSync(folder.lease, '');
  beats = [];
  isRunning = true;
  stops = 0;
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function snapshot(step: number): void {
  mkdirSync(folder.snapshot(step), { recursive: true });
  writeFileSync(join(folder.snapshot(step), 'snapshot.json'), JSON.stringify({ state: { step } }));
}

/** A store whose uploads wait until they are let through; `asked` resolves when the first has begun. */
function gated(): { slow: Store; asked: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  let tell = (): void => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  const asked = new Promise<void>((resolve) => (tell = resolve));
  const putFolder: Store['artifacts']['putFolder'] = async (...args) => {
    tell();
    await gate;
    return store.artifacts.putFolder(...args);
  };
  return { slow: { ...store, artifacts: { ...store.artifacts, putFolder } }, asked, open };
}

function watch(over: Store, changes: object = {}): Promise<void> {
  const launcher: Launcher = {
    name: 'test',
    usesThisHost: true,
    start: async () => undefined,
    poll: async () => (isRunning ? 'running' : 'ended'),
    wait: () => new Promise((resolve) => setTimeout(resolve, 5)),
    stop: async () => {
      stops++;
      isRunning = false;
    },
    logs: async () => [],
    cause: async () => undefined,
  };
  const work = {
    deps: { store: over, metrics: new StageMetrics(undefined) },
    request: stageRequest('train', { key, ...changes }),
    pulse: {
      beat: (said: unknown) => beats.push(said),
      signal: new AbortController().signal,
      isStopAsked: () => false,
    },
    launcher,
  } as unknown as Work;
  return superviseJob(work, { kind: 'found', folder, startedAt: new Date().toISOString() });
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

it('goes on telling Temporal and the job that it is watched while a snapshot is on its way', async () => {
  const { slow, asked, open } = gated();
  snapshot(10);
  const watched = watch(slow);
  await asked;
  const before = beats.length;
  utimesSync(folder.lease, 1, 1);
  await until(() => beats.length > before + 5);
  expect(statSync(folder.lease).mtimeMs).toBeGreaterThan(1000);
  expect(await store.snapshots.list(key)).toEqual([]);
  snapshot(20);
  isRunning = false;
  open();
  await watched;
  expect((await store.snapshots.list(key)).map(({ step }) => step)).toEqual([20, 10]);
});

it('finds a job that hangs while a snapshot is on its way, and stops it before it waits for that', async () => {
  const { slow, asked, open } = gated();
  snapshot(10);
  const atSecond = Date.now() / 1000 - 100;
  const steps = [1, 2, 3, 4, 5].map((step) => ({
    event: 'progress',
    at: atSecond + step / 100,
    step,
    total: 9,
  }));
  const watched = watch(slow, { stall: { times: 2, seconds: 1 } }).catch((error: unknown) => error);
  await asked;
  writeFileSync(folder.events, steps.map((step) => `${JSON.stringify(step)}\n`).join(''));
  await until(() => stops > 0);
  open();
  expect(await watched).toMatchObject({ code: 'STALLED' });
  expect((await store.snapshots.list(key)).map(({ step }) => step)).toEqual([10]);
});

it('leaves the job at work when the store is away, and ends with what the store says for good', async () => {
  snapshot(10);
  let answers = 0;
  const away = (code: 'STORE_UNAVAILABLE' | 'DISK_FULL'): Store => ({
    ...store,
    artifacts: {
      ...store.artifacts,
      putFolder: async () => {
        answers++;
        throw new Failure(code, 'no');
      },
    },
  });
  const watched = watch(away('STORE_UNAVAILABLE')).catch((error: unknown) => error);
  await until(() => answers > 2);
  expect(stops).toBe(0);
  isRunning = false;
  expect(await watched).toMatchObject({ code: 'STORE_UNAVAILABLE' });
  isRunning = true;
  await expect(watch(away('DISK_FULL'))).rejects.toMatchObject({ code: 'DISK_FULL' });
});

it('stops a job whose key a higher attempt holds', async () => {
  await store.leases.create(leaseOf(key, 2));
  snapshot(10);
  await expect(watch(store)).rejects.toMatchObject({ code: 'LEASE_LOST' });
  expect(stops).toBe(1);
});
