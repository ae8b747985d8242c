import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliRig } from '../support/cli-rig.ts';

/** One stage that notes each start of its job, and works for so many seconds. */
function spec(folder: string, seconds: number): string {
  return `fretsaw: v1
name: test
stages:
  work: { kind: command, with: { argv: [sh, -c, 'echo work >> ${folder}/ran; sleep ${seconds}; echo made > "$0"/x', "{out}"], outputs: { out: out } } }
  after: { kind: command, inputs: { a: work.out }, with: { argv: [cp, "{a}/x", "{out}/y"], outputs: { out: out } } }
`;
}

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 120_000);
afterEach(async () => {
  await rig.close();
});

describe('kill -9', { timeout: 120_000 }, () => {
  test('of the command line: the work goes on, and the same command takes it up', async () => {
    rig.write('a.yaml', spec(rig.folder, 8));
    const run = rig.start(['run', 'a.yaml']);
    await rig.until(() => rig.lines('ran').length === 1);
    run.child.kill('SIGKILL');
    await run.ended;
    const again = await rig.run(['run', 'a.yaml']);
    expect(again.err).toContain('whose command line was killed');
    expect(again.code).toBe(0);
    expect(rig.lines('ran')).toEqual(['work']);
  });

  test('of the worker: another is started and finds the job at work', async () => {
    rig.write('a.yaml', spec(rig.folder, 14));
    const run = rig.start(['run', 'a.yaml']);
    await rig.until(() => rig.lines('ran').length === 1 && rig.jobs().length === 1);
    process.kill(rig.worker()?.pid ?? 0, 'SIGKILL');
    const { code, err } = await run.ended;
    expect(err).toContain('worker had ended and was started again');
    expect(code).toBe(0);
    expect(rig.lines('ran')).toEqual(['work']);
  });

  test('of the Temporal server: it is started on the same database and the job is left alone', async () => {
    rig.write('a.yaml', spec(rig.folder, 10));
    const run = rig.start(['run', 'a.yaml']);
    await rig.until(() => rig.lines('ran').length === 1 && rig.jobs().length === 1);
    process.kill(rig.server()?.pid ?? 0, 'SIGKILL');
    const { code, err } = await run.ended;
    expect(err).toContain('Temporal server had ended and was started again');
    expect(code).toBe(0);
    expect(rig.lines('ran')).toEqual(['work']);
  });

  test('of a job: the stage is tried again', async () => {
    rig.write('a.yaml', spec(rig.folder, 4));
    const run = rig.start(['run', 'a.yaml', '--json']);
    await rig.until(() => rig.lines('ran').length === 1 && rig.jobs().length === 1);
    process.kill(-(rig.jobs()[0]?.pid ?? 0), 'SIGKILL');
    const { code, out } = await run.ended;
    expect(code).toBe(0);
    expect(rig.lines('ran')).toEqual(['work', 'work']);
    expect(JSON.parse(out)).toMatchObject({ stages: { work: { kind: 'ran' } } });
  });

  test('of everything at once: the same command ends well, and no lock has to be cleared', async () => {
    rig.write('a.yaml', spec(rig.folder, 4));
    const run = rig.start(['run', 'a.yaml']);
    await rig.until(() => rig.lines('ran').length === 1 && rig.jobs().length === 1);
    const [worker, server, job] = [rig.worker(), rig.server(), rig.jobs()[0]];
    run.child.kill('SIGKILL');
    for (const identity of [worker, server, job]) process.kill(-(identity?.pid ?? 0), 'SIGKILL');
    await run.ended;
    const again = await rig.run(['run', 'a.yaml']);
    expect(again.code).toBe(0);
    expect(rig.lines('ran')).toEqual(['work', 'work']);
    expect([rig.worker(), rig.server(), ...rig.jobs()]).toEqual([undefined, undefined]);
  });
});
