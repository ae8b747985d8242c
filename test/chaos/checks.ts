import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import type { StageKey } from '../../core/keys.ts';
import { leaseSeconds, type ChaosRig } from './chaos-rig.ts';
import { comparedOutputs, tellsEvery, type ChaosShape } from './chaos-spec.ts';
import { commandOf, processesOf } from './processes.ts';

/** `stage.output` -> digest, of the outputs that must not depend on disturbance. */
export type Outputs = Readonly<Record<string, string>>;

interface RunJson {
  state: string;
  stages: Record<string, { outputs?: Record<string, { digest: string }> }>;
}

export function outputsOf(json: string): Outputs {
  const { stages } = JSON.parse(json) as RunJson;
  const entries = Object.entries(stages).flatMap(([stage, { outputs }]) =>
    Object.entries(outputs ?? {})
      .filter(([name]) => comparedOutputs.includes(name))
      .map(([name, { digest }]) => [`${stage}.${name}`, digest] as const),
  );
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Steps computed more than once, and what the faults allow. */
export interface Twice {
  steps: number;
  allowed: number;
  attempts: number;
}

/** Everything that must hold after a disturbed run; each fault of ours is one line. */
export async function findFaults(rig: ChaosRig, twice: Twice): Promise<string[]> {
  const store = openDiskStore({ home: rig.home, domain: 'local', trusted: [] });
  return [
    ...(await recordFaults(store, rig.shape)),
    ...(await snapshotFaults(store)),
    ...corruptBlobs(join(rig.home, 'store', 'blobs', 'sha256')),
    ...(await processesLeft(rig.folder)),
    ...(twice.steps > twice.allowed
      ? [`${twice.steps} steps were computed twice; ${twice.allowed} are allowed`]
      : []),
  ];
}

async function recordFaults(store: Store, { trainings }: ChaosShape): Promise<string[]> {
  const keys = await store.records.keys();
  const counts = await Promise.all(keys.map(async (key) => (await store.records.history(key)).length));
  const faults = keys.flatMap((key, at) =>
    counts[at] === 1 ? [] : [`${key} has ${counts[at] ?? 0} records`],
  );
  return keys.length === trainings + 1 ? faults : [...faults, `${keys.length} keys have records`];
}

/** A snapshot of an attempt is stored before the next attempt takes the lease, or never. */
async function snapshotFaults(store: Store): Promise<string[]> {
  const faults: string[] = [];
  for (const key of await store.records.keys()) {
    const leases = await leaseTimes(store, key);
    for (const { attempt, step, createdAt } of await store.snapshots.list(key)) {
      const superseded = leases.get(attempt + 1);
      if (superseded !== undefined && Date.parse(createdAt) > superseded)
        faults.push(
          `snapshot of step ${step}, attempt ${attempt}, was stored after attempt ${attempt + 1} began`,
        );
    }
  }
  return faults;
}

/** Attempt -> when it took the lease. */
async function leaseTimes(store: Store, key: StageKey): Promise<Map<number, number>> {
  const folder = join(new URL(store.location).pathname, 'leases', key.slice('sha256:'.length));
  return new Map(
    (existsSync(folder) ? readdirSync(folder) : []).map((name) => {
      const { createdAt } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as { createdAt: string };
      return [Number(name), Date.parse(createdAt)];
    }),
  );
}

function corruptBlobs(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .filter((entry) => {
      const bytes = readFileSync(join(entry.parentPath, entry.name));
      return createHash('sha256').update(bytes).digest('hex') !== entry.name;
    })
    .map(({ name }) => `blob ${name} is corrupt`);
}

/** A job that lost its supervisor has its lease's time to notice. */
async function processesLeft(folder: string): Promise<string[]> {
  const until = Date.now() + (leaseSeconds + 30) * 1000;
  while (processesOf(folder).length > 0 && Date.now() < until) await sleep(500);
  return processesOf(folder).map((pid) => `process ${pid} is left: ${commandOf(pid)}`);
}

/**
 * Each fault may cost what was computed since the last snapshot, and what an orphaned job computes
 * until it misses its lease; jobs tell their steps in tens.
 */
export function countTwice(rig: ChaosRig, faults: number): Twice {
  const { trainings, steps, snapshotEvery } = rig.shape;
  let computed = 0;
  let fastest = 0;
  let attempts = 0;
  for (const { path, events } of rig.attempts()) {
    const told = events.filter(({ event }) => event === 'progress');
    const last = told.at(-1);
    if (last === undefined) continue;
    const from = resumedFrom(path);
    attempts++;
    computed += Number(last['step']) - from;
    fastest = Math.max(fastest, ...told.map(({ rate }) => Number(rate ?? 0)));
  }
  const each = snapshotEvery + tellsEvery + Math.ceil((leaseSeconds + 2) * fastest);
  return { steps: Math.max(0, computed - trainings * steps), allowed: faults * each, attempts };
}

function resumedFrom(events: string): number {
  const job = JSON.parse(readFileSync(events.replace(/events\.jsonl$/, 'job.json'), 'utf8')) as {
    resume: { step: number } | null;
  };
  return job.resume?.step ?? 0;
}
