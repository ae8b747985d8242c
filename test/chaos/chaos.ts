/**
 * `npm run test:chaos -- [--runs 20] [--seed 1] [--faults 10] [--limit-s 600]`: disturbed runs, one
 * after the other, each with its own seed. Prints what was done to each and what it cost; exits 1 when
 * anything does not hold.
 */
import { parseArgs } from 'node:util';
import { describeChaos, differences } from './describe-chaos.ts';
import { runCalm, runChaos } from './run-chaos.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    faults: { type: 'string', default: '10' },
    'limit-s': { type: 'string', default: '600' },
  },
});
const limitSeconds = Number(values['limit-s']);
const calm = await runCalm(limitSeconds);
let failed = 0;
const totals = { faults: 0, twice: 0, attempts: 0, seconds: 0 };
for (let run = 0; run < Number(values.runs); run++) {
  const result = await runChaos({
    seed: Number(values.seed) + run,
    faults: Number(values.faults),
    limitSeconds,
  });
  const found = [...result.faults, ...differences(calm, result.outputs)];
  if (found.length > 0) failed++;
  totals.faults += result.injected.length;
  totals.twice += result.twice.steps;
  totals.attempts += result.twice.attempts;
  totals.seconds += result.seconds;
  console.log(describeChaos(result, found));
}
console.log(
  `${values.runs} runs, ${failed} with a fault of ours; ${totals.faults} faults injected, ` +
    `${totals.attempts} attempts, ${totals.twice} steps computed twice, ${totals.seconds.toFixed(0)} s`,
);
process.exit(failed === 0 ? 0 : 1);
