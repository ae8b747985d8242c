/**
 * Records the histories of stages in a pool of their own, from a real run on a real server: one that two runs
 * share, one that is over its wall clock, and a run that is over its GPU hours. `npx tsx
 * test/replay/record-pool.ts [folder]`, to be run as record.ts is.
 */
import { Client, Connection } from '@temporalio/client';
import { join } from 'node:path';
import { findServer } from '../../workers/embedded-server.ts';
import { CliRig } from '../support/cli-rig.ts';
import { recordHistories } from './record-histories.ts';

const rig = await CliRig.open();
try {
  const stage = (script: string, more = ''): string =>
    `{ kind: command, pool: big, ${more}with: { argv: [sh, -c, '${script}', sh, "{out}"], outputs: { out: out } } }`;
  const spec = (name: string, stages: Record<string, string>, more = ''): void => {
    const lines = Object.entries(stages).map(([key, text]) => `  ${key}: ${text}\n`);
    rig.write(`${name}.yaml`, `fretsaw: v1\nname: ${name}\n${more}stages:\n${lines.join('')}`);
  };
  const shared = stage(`while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done; echo > "$1"/x`);
  spec('one', { shared });
  spec('two', { shared, late: stage('sleep 60', 'retry: { attempts: 1 }, budget: { hours: 0.002 }, ') });
  spec(
    'costly',
    { costly: stage('sleep 60', 'resources: { gpus: 8 }, ') },
    'budget: { gpu_hours: 0.01 }\n',
  );
  rig.write('big.yaml', 'fretsaw: pool/v1\nname: big\nslots: 4\n');
  rig.start(['worker', '--pool', './big.yaml']);
  const runs = ['one', 'two', 'costly'].map((name) =>
    rig.start(['run', `${name}.yaml`, '--wait-for-pools']),
  );
  await runs[2]?.ended;
  await rig.until(async () => (await rig.run(['show', 'last'])).out !== '' && (await rig.waiters()) === 2, 120);
  rig.write('go', '');
  await runs[1]?.ended;
  const again = rig.start(['run', 'costly.yaml', '--wait-for-pools']);
  await rig.until(() => rig.jobs().length > 0);
  const port = findServer(join(rig.home, 'temporal'))?.port ?? 0;
  const connection = await Connection.connect({ address: `127.0.0.1:${port}` });
  await recordHistories(new Client({ connection }), { folder: process.argv[2] ?? 'pool', most: 4 });
  await connection.close();
  await again.ended;
} finally {
  await rig.close();
}
