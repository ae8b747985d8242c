import { afterEach, beforeEach, expect, test } from 'vitest';
import { serverFlags } from '../../workers/search-attributes.ts';
import { BareServer } from '../support/bare-server.ts';
import { CliRig } from '../support/cli-rig.ts';

/** A real server asks for continuation at 4,096 events; this one at so many. */
const suggestAt = 60;
const chain = 24;

let rig: CliRig;
let server: BareServer;
beforeEach(async () => {
  rig = await CliRig.open();
  const limit = `limit.historyCount.suggestContinueAsNew=${suggestAt}`;
  server = await BareServer.start({ flags: [...serverFlags, '--dynamic-config-value', limit] });
}, 240_000);
afterEach(async () => {
  await server.stop();
  await rig.close();
});

function stage(name: string, script: string, more = ''): string {
  return `  ${name}: { kind: command, ${more}with: { argv: [sh, -c, 'echo ${name} >> ${rig.folder}/ran; ${script}', sh, "{out}"], outputs: { out: out } } }\n`;
}

/** A chain of stages, beside them one that outlives several parts, one that fails, and one that a person is asked about. */
function spec(): string {
  const made = 'echo > "$1"/x';
  const links = Array.from({ length: chain }, (_, at) =>
    stage(`s${at}`, made, at === 0 ? '' : `inputs: { a: s${at - 1}.out }, `),
  );
  return (
    `fretsaw: v1\nname: long\nstages:\n${links.join('')}` +
    stage('slow', `while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done; ${made}`) +
    stage('bad', 'exit 3', 'retry: { attempts: 1 }, ') +
    stage('behind', made, 'inputs: { a: bad.out }, ') +
    stage('asked', made, 'approve: "really?", ')
  );
}

interface Part {
  events: number;
  status: string;
}

/** Every part of the run's history. */
function parts(): Promise<Part[]> {
  return server.ask(async ({ workflow }) => {
    const found: Part[] = [];
    for await (const { historyLength, status } of workflow.list({ query: "WorkflowType = 'runPipeline'" }))
      found.push({ events: historyLength, status: status.name });
    return found;
  });
}

test(
  'a run whose history grows long goes on in another: nothing is made twice, forgotten, or asked again',
  { timeout: 400_000 },
  async () => {
    const env = { TEMPORAL_ADDRESS: `127.0.0.1:${server.port}` };
    rig.write('a.yaml', spec());
    const run = rig.start(['run', 'a.yaml'], env);
    await rig.until(() => rig.lines('ran').includes('s2'), 120);
    await rig.run(['approve', 'last', 'asked', '--reason', 'yes'], env);
    await rig.until(() => rig.lines('ran').includes(`s${chain - 1}`), 240);
    expect((await rig.run(['status', '--state', 'running', '--json'], env)).out).toContain('"spec":"long"');
    rig.write('go', '');
    const { code, out, err } = await run.ended;
    expect(code).toBe(1);
    expect(out).toContain(`failed (${chain + 2} ran, 1 failed, 1 blocked)`);
    expect(err.match(/^bad +failed/gm)).toHaveLength(1);
    expect(err.match(/^s1 +done/gm)).toHaveLength(1);
    const names = Array.from({ length: chain }, (_, at) => `s${at}`);
    expect(rig.lines('ran').sort()).toEqual(['asked', 'bad', 'slow', ...names].sort());

    const found = await parts();
    expect(found.filter(({ status }) => status === 'CONTINUED_AS_NEW').length).toBeGreaterThanOrEqual(2);
    expect(found.filter(({ status }) => status === 'COMPLETED')).toHaveLength(1);
    // What was being waited for when the limit came is a few events more.
    expect(Math.max(...found.map(({ events }) => events))).toBeLessThan(suggestAt + 60);
    const shown = await rig.run(['show', 'last', '--json'], env);
    expect(JSON.parse(shown.out)).toMatchObject({
      state: 'failed',
      acts: [{ act: 'approve', stage: 'asked' }],
    });
    const failed = await rig.run(['status', '--state', 'failed', '--json'], env);
    expect(JSON.parse(failed.out)).toMatchObject({ runs: [{ spec: 'long', stages: { ran: chain + 2 } }] });
  },
);
