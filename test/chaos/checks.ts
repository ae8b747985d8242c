import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openStore } from '../../store/open-store.ts';
import type { ObjectBackend } from '../../store/object-backend.ts';
import { objectNames } from '../../store/object-names.ts';
import type { Store } from '../../store/store.ts';
import type { StageKey } from '../../core/keys.ts';
import { leaseSeconds, type ChaosRig } from './chaos-rig.ts';
import { comparedOutputs, tellsEvery } from './chaos-spec.ts';
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
  /** Steps that the trainings have, each counted once. */
  planned: number;
}

/** Everything that must hold after a disturbed run; each fault of ours is one line. */
export async function findFaults(rig: ChaosRig, twice: Twice): Promise<string[]> {
  const backend = rig.place.backend();
  const { root } = rig.home;
  const folders = { viewsFolder: `${root}/views-of-checks`, indexFolder: `${root}/index-of-checks` };
  const store = openStore(backend, { domain: 'local', trusted: [], ...folders });
  const { stages } = JSON.parse(rig.ended?.out ?? '') as RunJson;
  return [
    ...(await recordFaults(store, Object.keys(stages).length)),
    ...(await snapshotFaults(store, backend)),
    ...(await corruptObjects(backend)),
    ...(await processesLeft(rig.folder)),
    ...(twice.steps > twice.allowed
      ? [`${twice.steps} steps were computed twice; ${twice.allowed} are allowed`]
      : []),
  ];
}

async function recordFaults(store: Store, stages: number): Promise<string[]> {
  const keys = await store.records.keys();
  const counts = await Promise.all(keys.map(async (key) => (await store.records.history(key)).length));
  const faults = keys.flatMap((key, at) =>
    counts[at] === 1 ? [] : [`${key} has ${counts[at] ?? 0} records`],
  );
  return keys.length === stages ? faults : [...faults, `${keys.length} keys have records`];
}

/** A snapshot of an attempt is stored before the next attempt takes the lease, or never. */
async function snapshotFaults(store: Store, backend: ObjectBackend): Promise<string[]> {
  const faults: string[] = [];
  for (const key of await store.records.keys()) {
    const leases = await leaseTimes(backend, key);
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
async function leaseTimes(backend: ObjectBackend, key: StageKey): Promise<Map<number, number>> {
  const names = await backend.list(objectNames.lease(key));
  const times = names.map(async (name) => {
    const text = Buffer.from((await backend.get(name)) ?? []).toString();
    const { attempt, createdAt } = JSON.parse(text) as { attempt: number; createdAt: string };
    return [attempt, Date.parse(createdAt)] as const;
  });
  return new Map(await Promise.all(times));
}

/** Blobs and packs are named by their own sha256. */
async function corruptObjects(backend: ObjectBackend): Promise<string[]> {
  const names = [...(await backend.list('blobs')), ...(await backend.list('packs'))];
  const faults: string[] = [];
  for (const name of names) {
    const hash = createHash('sha256');
    for await (const chunk of backend.stream(name)) hash.update(chunk);
    if (hash.digest('hex') !== name.split('/').at(-1)) faults.push(`${name} is corrupt`);
  }
  return names.length === 0 ? ['the store has no blob at all'] : faults;
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
  const planned = new Map<string, number>();
  let computed = 0;
  let fastest = 0;
  let attempts = 0;
  for (const { path, events } of rig.attempts()) {
    const told = events.filter(({ event, unit }) => event === 'progress' && unit === 'steps');
    const last = told.at(-1);
    if (last === undefined) continue;
    attempts++;
    computed += Number(last['step']) - resumedFrom(path);
    fastest = Math.max(fastest, ...told.map(({ rate }) => Number(rate ?? 0)));
    planned.set(dirname(dirname(path)).split('/').at(-1) ?? '', Number(last['total']));
  }
  const all = [...planned.values()].reduce((sum, steps) => sum + steps, 0);
  const each = rig.shape.snapshotEvery + tellsEvery + Math.ceil((leaseSeconds + 2) * fastest);
  return { steps: Math.max(0, computed - all), allowed: faults * each, attempts, planned: all };
}

function resumedFrom(events: string): number {
  const job = JSON.parse(readFileSync(events.replace(/events\.jsonl$/, 'job.json'), 'utf8')) as {
    resume: { step: number } | null;
  };
  return job.resume?.step ?? 0;
}
