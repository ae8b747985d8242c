import { existsSync } from 'node:fs';
import { isLocal } from '../compiler/locations.ts';
import type { PastRecord } from '../compiler/nearest.ts';
import type { PlannedStage } from '../compiler/plan.ts';
import type { Found, Lookups } from '../compiler/resolve.ts';
import { parseDigest, type Digest } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import type { AttemptNote } from '../lineage/record.ts';
import { readGraph } from '../lineage/graph.ts';
import { lookUp } from '../lineage/look-up.ts';
import type { Store } from '../store/store.ts';
import { pinStages } from './pin-imports.ts';
import { recordedSizes } from './recorded-sizes.ts';

/** What a plan asks, answered from a store and the local disk. */
export function storeLookups(store: Store, home: string): Lookups {
  return {
    find: async (keys) => new Map((await Promise.all(keys.map((key) => findOne(store, key)))).flat()),
    past: (kinds) => pastRecords(store, kinds),
    observe: (imports) => observe(imports, home),
  };
}

async function findOne(store: Store, key: StageKey): Promise<[StageKey, Found][]> {
  const found = await lookUp(store, key);
  switch (found.kind) {
    case 'none':
      return [];
    case 'hit':
      return [[key, { outputs: found.predicate.outputs, missing: [] }]];
    case 'fallen':
      return [[key, { outputs: {}, missing: [found.reason] }]];
  }
}

async function pastRecords(store: Store, kinds: readonly string[]): Promise<PastRecord[]> {
  const graph = await readGraph(store);
  const wanted = graph.makings.filter(({ predicate }) => kinds.includes(predicate.document.kind));
  const sizeOf = recordedSizes(store, graph);
  const records = await Promise.all(
    wanted.map(async ({ key, predicate }) => {
      const model = await sizeOf(predicate.document);
      return {
        key,
        document: predicate.document,
        stage: predicate.stage,
        finishedAt: predicate.attempts.at(-1)?.finishedAt ?? '',
        ...secondsOf(predicate.attempts),
        ...(model === undefined ? {} : { model }),
      };
    }),
  );
  return records.sort((a, b) => (a.finishedAt < b.finishedAt ? 1 : a.finishedAt > b.finishedAt ? -1 : 0));
}

/** Wall time of all attempts times the devices that each held. */
function secondsOf(attempts: readonly AttemptNote[]): Pick<PastRecord, 'seconds'> {
  const last = attempts.at(-1);
  if (last === undefined) return {};
  const device = count(last.resources['gpus']) > 0 ? 'gpu' : 'cpu';
  const seconds = attempts.reduce((sum, { startedAt, finishedAt, resources }) => {
    const wall = (Date.parse(finishedAt) - Date.parse(startedAt)) / 1000;
    return sum + Math.max(0, wall) * Math.max(1, count(resources[device === 'gpu' ? 'gpus' : 'cpus']));
  }, 0);
  return Number.isFinite(seconds) ? { seconds: { device, seconds } } : {};
}

function count(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

/** Local folders are hashed as `run` would; what is not there stays unknown. */
async function observe(imports: readonly PlannedStage[], home: string): Promise<Map<string, Digest>> {
  const local = imports.filter(
    ({ with: { location } }) => typeof location === 'string' && isLocal(location) && existsSync(location),
  );
  const pinned = await pinStages(local, home);
  return new Map(
    [...pinned.values()].flatMap(({ name, with: { digest } }) =>
      typeof digest === 'string' ? [[name, parseDigest(digest)] as const] : [],
    ),
  );
}
