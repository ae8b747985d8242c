import { expect, test } from 'vitest';
import type { ChaosShape } from './chaos-spec.ts';
import { describeChaos, differences } from './describe-chaos.ts';
import { runCalm, runChaos } from './run-chaos.ts';

const shape: ChaosShape = { trainings: 2, steps: 300, snapshotEvery: 30 };
/** One of each; `npm run test:chaos` has them all, more often. */
const only = ['job killed', 'worker 1 killed', 'server killed', 'job frozen'];

test(
  'trainings whose jobs, worker and server are killed or frozen end with the same bytes, and waste little',
  { timeout: 600_000 },
  async () => {
    const calm = await runCalm(shape, 240);
    expect(Object.keys(calm)).toEqual(['sum.out', 'train1.checkpoint', 'train2.checkpoint']);
    const result = await runChaos({ shape, seed: 11, faults: only.length, only, limitSeconds: 300 });
    const found = [...result.faults, ...differences(calm, result.outputs)];
    console.log(describeChaos(result, found));
    expect(found).toEqual([]);
    expect(result.injected.map(({ kind }) => kind).sort()).toEqual([...only].sort());
    expect(result.injected.filter(({ training }) => training > 0).length).toBeGreaterThan(1);
  },
);
