import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bulkStore } from '../../cli/bulk-store.ts';
import { resolvePlan } from '../../cli/resolve-plan.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { StageKey } from '../../core/keys.ts';
import { readGraph } from '../../lineage/graph.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import type { Store } from '../../store/store.ts';
import { keyOf } from '../contract/store-rig.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(`${tmpdir()}/fretsaw-bulk-`);
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

/** A plan of imports alone, whose keys need no inputs. */
function planOf(count: number): Plan {
  const stages = Array.from({ length: count }, (_, n) => ({
    name: `stage${n}`,
    kind: 'command',
    after: [],
    inputs: {},
    with: { argv: ['true', String(n)], outputs: { out: 'out' } },
  }));
  return { spec: { name: 'many' }, stages } as unknown as Plan;
}

it('a plan and its lineage are answered by one question for all records and one for all bytes', async () => {
  const disk = openDiskStore({ home, domain: 'local', trusted: [] });
  await disk.records.create(keyOf('k'), 1, 'not a record');
  const asked: string[] = [];
  const note =
    <A extends unknown[], R>(name: string, ask: (...args: A) => R) =>
    (...args: A): R => {
      asked.push(name);
      return ask(...args);
    };
  const store: Store = {
    ...disk,
    records: {
      ...disk.records,
      asOfNow: note('all records', async () => ({
        latest: (key: StageKey) => disk.records.latest(key),
        history: (key: StageKey) => disk.records.history(key),
        keys: () => disk.records.keys(),
      })),
      latest: note('a record', (key) => disk.records.latest(key)),
      history: note('a history', (key) => disk.records.history(key)),
    },
    artifacts: {
      ...disk.artifacts,
      missing: note('bytes', (digest) => disk.artifacts.missing(digest)),
      missingMany: note('all bytes', (digests) => disk.artifacts.missingMany(digests)),
    },
  };
  const plan = planOf(200);
  const bulk = await bulkStore(store, plan, { command: '1' });
  await resolvePlan(plan, bulk, { command: '1' });
  expect((await readGraph(bulk)).unreadable).toHaveLength(1);
  expect(asked).toEqual(['all records', 'all bytes']);
});
