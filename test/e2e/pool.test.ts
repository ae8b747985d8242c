import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliRig, type Running } from '../support/cli-rig.ts';

const pool = `fretsaw: pool/v1
name: big
slots: 1
jobs: { env: [LET_THROUGH] }
`;

/** One stage of this host's own pool and one of pool `big`, which notes what it sees and works for some seconds. */
function spec(folder: string, seconds: number): string {
  return `fretsaw: v1
name: test
stages:
  first: { kind: command, with: { argv: [sh, -c, 'echo made > "$0"/x', "{out}"], outputs: { out: out } } }
  big:
    kind: command
    pool: big
    inputs: { a: first.out }
    with:
      argv: [sh, -c, 'echo "big $LET_THROUGH,$KEPT_BACK" >> ${folder}/ran; sleep ${seconds}; cp "$0"/x "$1"/y', "{a}", "{out}"]
      outputs: { out: out }
`;
}

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
  rig.write('big.yaml', pool);
}, 240_000);
afterEach(async () => {
  await rig.close();
});

async function startWorker(env: Readonly<Record<string, string>> = {}): Promise<Running> {
  const worker = rig.start(['worker', '--pool', './big.yaml'], env);
  let told = '';
  worker.child.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  await rig.until(() => told.includes('serving queue big'), 120);
  return worker;
}

describe('a pool', { timeout: 300_000 }, () => {
  test('that nobody serves is named before anything starts', async () => {
    rig.write('a.yaml', spec(rig.folder, 0));
    const planned = await rig.run(['plan', 'a.yaml']);
    expect(planned.out).toContain('pool big: asked for by big; no Temporal server is at work to ask');
    const { code, err } = await rig.run(['run', 'a.yaml']);
    expect(code).toBe(1);
    expect(err).toContain('NO_POOL: nobody serves pool big, which big asks for');
    expect((await rig.run(['status'])).out).toBe('no runs yet\n');
  });

  test('is served by a worker of its own, whose jobs see what its file lets through', async () => {
    rig.write('a.yaml', spec(rig.folder, 0));
    const worker = await startWorker({ LET_THROUGH: 'yes', KEPT_BACK: 'no' });
    expect((await rig.run(['plan', 'a.yaml'])).out).toContain(
      'pool big: asked for by big; 1 worker serves it',
    );
    const { code, out } = await rig.run(['run', 'a.yaml', '--json']);
    expect(JSON.parse(out)).toMatchObject({ state: 'done', counts: { ran: 2 } });
    expect(code).toBe(0);
    expect(rig.lines('ran')).toEqual(['big yes,']);
    worker.child.kill('SIGTERM');
    expect((await worker.ended).code).toBe(0);
    expect([rig.worker(), rig.server()]).toEqual([undefined, undefined]);
  });

  test('is waited for by name and time; a job outlives its worker and the next one finds it', async () => {
    rig.write('a.yaml', spec(rig.folder, 12));
    const run = rig.start(['run', 'a.yaml', '--wait-for-pools']);
    let told = '';
    run.child.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()));
    await rig.until(() => told.includes('waits for pool big since'), 120);
    expect(told).toMatch(/waits for pool big since \d{4}-\d\d-\d\dT[\d:]{8}Z \(nobody serves it\)/);
    expect((await rig.run(['show', 'last'])).out).toContain('waits for pool big since');
    const first = await startWorker();
    await rig.until(() => rig.lines('ran').length === 1, 60);
    first.child.kill('SIGKILL');
    await startWorker();
    expect((await run.ended).code).toBe(0);
    expect(rig.lines('ran')).toEqual(['big ,']);
  });
});

/** A stage that works until a file `go` is there, beside one that is made at once. */
function sharing(folder: string, name: string): string {
  const work = (note: string, until: string): string =>
    `[sh, -c, 'echo ${note} >> ${folder}/ran; while [ ! -e ${folder}/${until} ]; do sleep 0.1; done; echo made > "$0"/x', "{out}"]`;
  const stage = (argv: string): string =>
    `{ kind: command, pool: big, with: { argv: ${argv}, outputs: { out: out } } }`;
  return `fretsaw: v1
name: ${name}
stages:
  shared: ${stage(work('shared', 'go'))}
  own: ${stage(work(name, 'spec-of-own'))}
`;
}

test(
  'waiting for a stage that another run has at work costs no slot of its pool',
  { timeout: 300_000 },
  async () => {
    rig.write('big.yaml', pool.replace('slots: 1', 'slots: 2'));
    const worker = await startWorker();
    const runs: Running[] = [];
    for (const name of ['first', 'second', 'third']) {
      rig.write('spec-of-own', '');
      rig.write(`${name}.yaml`, sharing(rig.folder, name));
      runs.push(rig.start(['run', `${name}.yaml`, '--json']));
      // One slot is at work for all three; in the other each run's own stage is made while the run waits.
      await rig.until(async () => {
        const { out } = await rig.run(['status', '--spec', name, '--json']);
        const { runs } = JSON.parse(out) as { runs: { stages: Record<string, number> }[] };
        return runs[0]?.stages['ran'] === 1 && runs[0].stages['running'] === 1;
      }, 120);
    }
    rig.write('go', '');
    const ended = await Promise.all(runs.map((run) => run.ended));
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(rig.lines('ran').sort()).toEqual(['first', 'second', 'shared', 'third']);
    worker.child.kill('SIGTERM');
    await worker.ended;
  },
);

test(
  'a run that has used its GPU hours is stopped, and says so whenever it is asked',
  { timeout: 300_000 },
  async () => {
    rig.write(
      'a.yaml',
      `fretsaw: v1
name: costly
budget: { gpu_hours: 0.01 }
stages:
  costly: { kind: command, pool: big, resources: { gpus: 8 }, with: { argv: [sh, -c, 'exec sleep 300', "{out}"], outputs: { out: out } } }
`,
    );
    const worker = await startWorker();
    const run = await rig.run(['run', 'a.yaml']);
    expect(run.code).toBe(1);
    const why = /BUDGET_SPENT: the run has used [\d.]+ of 0\.01 GPU hours/;
    expect(run.out + run.err).toMatch(why);
    expect((await rig.run(['show', 'last'])).out).toMatch(why);
    await rig.until(() => rig.jobs().length === 0, 60);
    worker.child.kill('SIGTERM');
    await worker.ended;
  },
);

test('a pool file is checked without being served', { timeout: 60_000 }, async () => {
  rig.write('wrong.yaml', 'fretsaw: pool/v1\nname: wrong\nslots: none\n');
  const wrong = await rig.run(['worker', '--pool', './wrong.yaml', '--check']);
  expect(wrong.code).toBe(2);
  expect(wrong.err).toContain('wrong.yaml:3:8: WRONG_TYPE pool.slots: expected an integer, found "none"');
  const inline = await rig.run(['worker', '--pool', 'big', '--check'], { FRETSAW_POOL: pool });
  expect(JSON.parse(inline.out)).toMatchObject({ name: 'big', launcher: 'local', slots: 1 });
  const absent = await rig.run(['worker', '--pool', 'big', '--check']);
  expect([absent.code, absent.err]).toEqual([3, expect.stringContaining('no pool file')]);
});
