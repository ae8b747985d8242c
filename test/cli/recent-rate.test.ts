import { expect, test } from 'vitest';
import { RecentRate } from '../../cli/recent-rate.ts';

test('a rate is that of the last minute, not of the whole stage', () => {
  const rate = new RecentRate();
  for (let second = 0; second <= 600; second++) rate.see(second, second * 1000);
  for (let second = 1; second <= 61; second++) rate.see(600 + 10 * second, (600 + second) * 1000);
  expect(rate.see(600 + 620, 662_000)).toBeCloseTo(10);
});

test('a rare look counts from the last look a minute old', () => {
  const rate = new RecentRate();
  rate.see(0, 0);
  rate.see(300, 100_000);
  expect(rate.see(900, 300_000)).toBeCloseTo(3);
});

test('there is none before two seconds, and none after a retry went back', () => {
  const rate = new RecentRate();
  expect(rate.see(5, 0)).toBeNull();
  expect(rate.see(6, 1000)).toBeNull();
  expect(rate.see(9, 2000)).toBeCloseTo(2);
  expect(rate.see(3, 4000)).toBeNull();
  expect(rate.see(7, 8000)).toBeCloseTo(1);
});
