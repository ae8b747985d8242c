/**
 * Records the histories of a run with search attributes that was continued as new, from a real server
 * that suggests it early: `npx tsx test/replay/record-continued.ts [folder]`. To be run as record.ts is.
 */
import { serverFlags } from '../../workers/search-attributes.ts';
import { BareServer } from '../support/bare-server.ts';
import { CliRig } from '../support/cli-rig.ts';
import { recordHistories } from './record-histories.ts';

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
  await server.ask(async (client) => {
    const folder = process.argv[2] ?? 'continued';
    await recordHistories(client, { folder, query: "WorkflowType = 'runPipeline'", most: 4 });
  });
} finally {
  await server.stop();
  await rig.close();
}
