import { expect, it } from 'vitest';
import { snapshotsToDrop } from '../../activities/snapshot-policy.ts';

const steps = (...all: number[]): { step: number; attempt: number }[] =>
  all.map((step) => ({ step, attempt: 1 }));

it('keeps the last few and every n-th, whatever the order in which they are listed', () => {
  const dropped = snapshotsToDrop(steps(50, 10, 30, 20, 40, 60), { keep_snapshots: 2, keep_every: 30 });
  expect(dropped.map(({ step }) => step)).toEqual([40, 20, 10]);
});

it('keeps all when nothing is said, and only the last when there is no n-th', () => {
  expect(snapshotsToDrop(steps(1, 2, 3), {})).toEqual([]);
  expect(snapshotsToDrop(steps(1, 2, 3), { keep_every: 2 })).toEqual([]);
  expect(snapshotsToDrop(steps(1, 2, 3), { keep_snapshots: 1 })).toEqual(steps(2, 1));
});

it('takes the later attempt of one step for the newer', () => {
  const both = [
    { step: 8, attempt: 1 },
    { step: 8, attempt: 2 },
  ];
  expect(snapshotsToDrop(both, { keep_snapshots: 1 })).toEqual([{ step: 8, attempt: 1 }]);
});
