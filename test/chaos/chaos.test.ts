import { expect, test } from 'vitest';
import type { ChaosShape } from './chaos-spec.ts';
import { describeChaos, differences } from './describe-chaos.ts';
import { runCalm, runChaos } from './run-chaos.ts';

const shape: ChaosShape = { trainings: 1, steps: 300, snapshotEvery: 30, pairTokens: 16_000 };
/** One of each; `npm run test:chaos` has them all, more often. */
const only = ['rank killed', 'worker 1 killed', 'server killed', 'job frozen'];

test(
  'trainings whose ranks, jobs, worker and server are killed or frozen end with the same bytes, and waste little',
  { timeout: 600_000 },
  async () => {
    const calm = await runCalm(shape, 240);
    expect(Object.keys(calm)).toEqual([
      'pair.checkpoint',
      'parent.checkpoint',
      'rows.data',
      'sum.out',
      'train1.checkpoint',
    ]);
    const result = await runChaos({
      shape,
      seed: 11,
      store: 'disk',
      faults: only.length,
      only,
      limitSeconds: 300,
    });
    const found = [...result.faults, ...differences(calm, result.outputs)];
    console.log(describeChaos(result, found));
    expect(found).toEqual([]);
    expect(result.injected.map(({ kind }) => kind).sort()).toEqual([...only].sort());
    expect(result.injected.filter(({ training }) => training > 0).length).toBeGreaterThan(1);
  },
);
