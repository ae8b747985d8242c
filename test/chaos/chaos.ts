/**
 * `npm run test:chaos -- [--runs 20] [--seed 1] [--faults 16] [--limit-s 900] [--trainings 3] [--steps 600]`:
 * disturbed runs, one after the other, each with its own seed. The store is on disk for odd seeds and in S3
 * for even ones, or where `--store` says. Prints what was done to each and what it cost; exits 1 when anything
 * does not hold.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../support/built.ts';
import { radosgwIsMissing } from '../support/radosgw.ts';
import { countKinds, describeChaos, differences } from './describe-chaos.ts';
import type { Injected } from './faults.ts';
import type { Place } from './place.ts';
import { runCalm, runChaos } from './run-chaos.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    faults: { type: 'string', default: '16' },
    'limit-s': { type: 'string', default: '900' },
    trainings: { type: 'string', default: '3' },
    steps: { type: 'string', default: '600' },
    'snapshot-every': { type: 'string', default: '50' },
    'pair-tokens': { type: 'string', default: '30000' },
    store: { type: 'string' },
  },
});
const limitSeconds = Number(values['limit-s']);
const shape = {
  trainings: Number(values.trainings),
  steps: Number(values.steps),
  snapshotEvery: Number(values['snapshot-every']),
  pairTokens: Number(values['pair-tokens']),
};
const missing = radosgwIsMissing();
if (missing !== undefined) console.log(`no run has its store in S3: ${missing}`);
const shared = mkdtempSync(join(tmpdir(), 'fretsaw-run-'));
process.env['FRETSAW_TEST_RUN'] = shared;
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
process.once('exit', () => {
  if (existsSync(join(shared, 's3')))
    execFileSync(join(root, 'infra', 'dev', 'stop.sh'), [join(shared, 's3')]);
  rmSync(shared, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
process.exitCode = await disturb();

function storeOf(seed: number): Place['kind'] {
  if (missing !== undefined || values.store === 'disk') return 'disk';
  return values.store === 's3' || seed % 2 === 0 ? 's3' : 'disk';
}

async function disturb(): Promise<number> {
  const calm = await runCalm(shape, limitSeconds);
  const injected: Injected[] = [];
  const totals = { disk: 0, s3: 0, failed: 0, twice: 0, planned: 0, attempts: 0, seconds: 0 };
  for (let run = 0; run < Number(values.runs); run++) {
    const seed = Number(values.seed) + run;
    const store = storeOf(seed);
    const result = await runChaos({ shape, seed, store, faults: Number(values.faults), limitSeconds });
    const found = [...result.faults, ...differences(calm, result.outputs)];
    if (found.length > 0) totals.failed++;
    totals[store]++;
    totals.twice += result.twice.steps;
    totals.planned += result.twice.planned;
    totals.attempts += result.twice.attempts;
    totals.seconds += result.seconds;
    injected.push(...result.injected);
    console.log(describeChaos(result, found));
    console.log(
      `so far ${totals.disk} runs on disk and ${totals.s3} in S3, ${totals.failed} with a fault of ours; ` +
        `${injected.length} faults injected, ${totals.attempts} attempts, ` +
        `${totals.twice} of ${totals.planned} steps computed twice, ${totals.seconds.toFixed(0)} s`,
    );
  }
  for (const line of countKinds(injected)) console.log(line);
  return totals.failed === 0 ? 0 : 1;
}
