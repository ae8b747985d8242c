/**
 * `npm run test:chaos -- [--runs 20] [--seed 1] [--faults 10] [--limit-s 600] [--trainings 3] [--steps 900]`:
 * disturbed runs, one after the other, each with its own seed. Prints what was done to each and what it
 * cost; exits 1 when anything does not hold.
 */
import { parseArgs } from 'node:util';
import { countKinds, describeChaos, differences } from './describe-chaos.ts';
import type { Injected } from './faults.ts';
import { runCalm, runChaos } from './run-chaos.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    faults: { type: 'string', default: '10' },
    'limit-s': { type: 'string', default: '600' },
    trainings: { type: 'string', default: '3' },
    steps: { type: 'string', default: '900' },
    'snapshot-every': { type: 'string', default: '50' },
  },
});
const limitSeconds = Number(values['limit-s']);
const shape = {
  trainings: Number(values.trainings),
  steps: Number(values.steps),
  snapshotEvery: Number(values['snapshot-every']),
};
const calm = await runCalm(shape, limitSeconds);
const injected: Injected[] = [];
const totals = { runs: 0, failed: 0, twice: 0, attempts: 0, seconds: 0 };
for (let run = 0; run < Number(values.runs); run++) {
  const seed = Number(values.seed) + run;
  const result = await runChaos({ shape, seed, faults: Number(values.faults), limitSeconds });
  const found = [...result.faults, ...differences(calm, result.outputs)];
  if (found.length > 0) totals.failed++;
  totals.runs++;
  totals.twice += result.twice.steps;
  totals.attempts += result.twice.attempts;
  totals.seconds += result.seconds;
  injected.push(...result.injected);
  console.log(describeChaos(result, found));
  console.log(
    `so far ${totals.runs} runs, ${totals.failed} with a fault of ours; ${injected.length} faults injected, ` +
      `${totals.attempts} attempts, ${totals.twice} of ${totals.runs * shape.trainings * shape.steps} steps computed twice, ${totals.seconds.toFixed(0)} s`,
  );
}
for (const line of countKinds(injected)) console.log(line);
process.exit(totals.failed === 0 ? 0 : 1);
