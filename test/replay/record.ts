/**
 * Records the histories that replay.test.ts replays, from a real run on a real server:
 * `npx tsx test/replay/record.ts [folder]`. To be run for each release, with its version as the folder; and when
 * a workflow is changed on purpose in a way that histories which no release has made need not survive.
 */
import { Client, Connection } from '@temporalio/client';
import { join } from 'node:path';
import { findServer } from '../../workers/embedded-server.ts';
import { CliRig } from '../support/cli-rig.ts';
import { recordHistories } from './record-histories.ts';

const rig = await CliRig.open();
try {
  const script = (text: string): string => `argv: [sh, -c, '${text}', sh, "{out}"], outputs: { out: out }`;
  rig.write(
    'mixed.yaml',
    `fretsaw: v1
name: mixed
stages:
  made: { kind: command, with: { ${script('echo made > "$1"/x')} } }
  next: { kind: command, inputs: { a: made.out }, with: { ${script('echo next > "$1"/x')} } }
  bad: { kind: command, with: { ${script('exit 3')} } }
  behind: { kind: command, inputs: { a: bad.out }, with: { ${script('echo never > "$1"/x')} } }
`,
  );
  rig.write('wait.yaml', `fretsaw: v1\nname: wait\nstages:\n  wait: { kind: command, with: { ${script(`while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done; echo > "$1"/x`)} } }\n`);
  rig.write('killed.yaml', `fretsaw: v1\nname: killed\nstages:\n  killed: { kind: command, with: { ${script(`echo killed >> ${rig.folder}/ran; sleep 3; echo > "$1"/x`)} } }\n`);
  const keeper = rig.start(['run', 'wait.yaml']);
  await rig.until(async () => (await rig.waiters()) === 1);
  await rig.run(['run', 'mixed.yaml']);
  await rig.run(['run', 'mixed.yaml']);
  const killed = rig.start(['run', 'killed.yaml']);
  await rig.until(() => rig.lines('ran').length === 1 && rig.jobs().length === 2);
  for (const job of rig.jobs()) process.kill(-job.pid, 'SIGKILL');
  await killed.ended;
  const cancelled = rig.start(['run', 'killed.yaml', '--recompute', 'killed', '--reason', 'to be cancelled']);
  await rig.until(() => rig.lines('ran').length === 3);
  cancelled.child.kill('SIGINT');
  await cancelled.ended;
  rig.write('asked.yaml', `fretsaw: v1
name: asked
stages:
  asked: { kind: command, approve: true, with: { ${script('echo asked > "$1"/x')} } }
  long: { kind: command, with: { ${script('echo long >> ' + rig.folder + '/long; sleep 30; echo > "$1"/x')} } }
  unwanted: { kind: command, with: { ${script('sleep 60; echo > "$1"/x')} } }
  behind: { kind: command, inputs: { a: unwanted.out }, with: { ${script('echo never > "$1"/x')} } }
`);
  const asked = rig.start(['run', 'asked.yaml']);
  await rig.until(() => rig.lines('long').length === 1);
  await rig.run(['pause', 'last', 'long', '--reason', 'to be seen']);
  await rig.until(() => rig.jobs().length === 2);
  await rig.run(['resume', 'last']);
  await rig.until(() => rig.lines('long').length === 2);
  await rig.run(['cancel', 'last', 'unwanted']);
  await rig.run(['approve', 'last', 'asked', '--reason', 'to be seen']);
  await record();
  await asked.ended;
  rig.write('go', '');
  await keeper.ended;
} finally {
  await rig.close();
}

async function record(): Promise<void> {
  const port = findServer(join(rig.home, 'temporal'))?.port ?? 0;
  const connection = await Connection.connect({ address: `127.0.0.1:${port}` });
  await recordHistories(new Client({ connection }), { folder: process.argv[2] ?? '', most: 4 });
  await connection.close();
}
