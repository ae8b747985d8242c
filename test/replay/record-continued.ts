/**
 * Records the histories of a run with search attributes that was continued as new, from a real server
 * that suggests it early: `npx tsx test/replay/record-continued.ts`. To be run as record.ts is.
 */
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serverFlags } from '../../workers/search-attributes.ts';
import { BareServer } from '../support/bare-server.ts';
import { root } from '../support/built.ts';
import { CliRig } from '../support/cli-rig.ts';

const folder = join(root, 'test', 'replay', 'histories', 'continued');
const limit = 'limit.historyCount.suggestContinueAsNew=30';
const rig = await CliRig.open();
const server = await BareServer.start({ flags: [...serverFlags, '--dynamic-config-value', limit] });
try {
  const env = { TEMPORAL_ADDRESS: `127.0.0.1:${server.port}`, FRETSAW_OWNER: 'ada' };
  const stages = Array.from({ length: 12 }, (_, at) => {
    const input = at === 0 ? '' : `inputs: { a: s${at - 1}.out }, `;
    return `  s${at}: { kind: command, ${input}with: { argv: [sh, -c, 'echo ${at} > "$1"/x', sh, "{out}"], outputs: { out: out } } }\n`;
  });
  rig.write('a.yaml', `fretsaw: v1\nname: continued\nstages:\n${stages.join('')}`);
  await rig.run(['run', 'a.yaml'], env);
  await server.ask(async ({ workflow }) => {
    mkdirSync(folder, { recursive: true });
    let count = 0;
    for await (const { workflowId, runId, status } of workflow.list({
      query: "WorkflowType = 'runPipeline'",
    })) {
      const history = await workflow.getHandle(workflowId, runId).fetchHistory();
      const name = `runPipeline-${status.name.toLowerCase().replaceAll('_', '-')}-${++count}.json`;
      // Where the program lay when this was recorded is nobody's business.
      writeFileSync(join(folder, name), `${historyToJSON(history).replaceAll(root, '/fretsaw')}\n`);
    }
  });
} finally {
  await server.stop();
  await rig.close();
}
