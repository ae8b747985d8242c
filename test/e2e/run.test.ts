import { mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliRig } from '../support/cli-rig.ts';

/** A stage that notes that it ran in `ran` beside the spec, waits for the file `go` if asked to, and writes its output. */
function stage(
  name: string,
  options: { inputs?: string; waits?: boolean; folder: string; fail?: boolean },
): string {
  const { inputs = '', waits = false, folder, fail = false } = options;
  const wait = waits ? `while [ ! -e ${folder}/go ]; do sleep 0.1; done;` : '';
  const script = `echo ${name} >> ${folder}/ran; ${wait} ${fail ? 'echo broken >&2; exit 3' : 'echo "$0" > "$1"/x'}`;
  return `  ${name}: { kind: command, ${inputs === '' ? '' : `inputs: { a: ${inputs}.out }, `}with: { argv: [sh, -c, '${script}', ${name}, "{out}"], outputs: { out: out } } }\n`;
}

const spec = (stages: string): string => `fretsaw: v1\nname: test\nstages:\n${stages}`;

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 120_000);
afterEach(async () => {
  await rig.close();
});

describe('run', { timeout: 120_000 }, () => {
  test('stages run in the order of their inputs; the same command again runs nothing', async () => {
    const folder = rig.folder;
    rig.write('a.yaml', spec(stage('first', { folder }) + stage('second', { folder, inputs: 'first' })));
    const ran = await rig.run(['run', 'a.yaml', '--json']);
    expect(ran.code).toBe(0);
    expect(JSON.parse(ran.out)).toMatchObject({ state: 'done', counts: { ran: 2, cached: 0 } });
    expect(rig.lines('ran')).toEqual(['first', 'second']);
    expect([rig.worker(), rig.server()]).toEqual([undefined, undefined]);

    const coverage = mkdtempSync(join(tmpdir(), 'fretsaw-loaded-'));
    const again = await rig.run(['run', 'a.yaml', '--json'], { NODE_V8_COVERAGE: coverage });
    expect(JSON.parse(again.out)).toMatchObject({ run: null, counts: { ran: 0, cached: 2 } });
    const loaded = readdirSync(coverage)
      .map((name) => readFileSync(join(coverage, name), 'utf8'))
      .join('');
    expect(loaded).toContain('dist/fretsaw.js');
    expect(loaded).not.toContain('@temporalio');
    expect(rig.lines('ran')).toHaveLength(2);
  });

  test('a failed stage blocks what reads it, says why, and leaves other branches alone', async () => {
    const folder = rig.folder;
    rig.write(
      'a.yaml',
      spec(
        stage('bad', { folder, fail: true }) +
          stage('behind', { folder, inputs: 'bad' }) +
          stage('other', { folder }),
      ),
    );
    const ran = await rig.run(['run', 'a.yaml', '--json']);
    expect(ran.code).toBe(1);
    expect(JSON.parse(ran.out)).toMatchObject({
      state: 'failed',
      stages: {
        bad: { kind: 'failed', code: 'COMMAND_FAILED', message: 'exit code 3: broken', attempts: 1 },
        behind: { kind: 'blocked', by: 'bad' },
        other: { kind: 'ran' },
      },
    });
    const shown = await rig.run(['show', 'last']);
    expect(shown.out).toContain('COMMAND_FAILED: exit code 3: broken');
    expect(shown.out).toMatch(/behind +blocked +by bad$/m);
    expect((await rig.run(['logs', 'last', 'bad'])).out).toBe('broken\n');
    expect((await rig.run(['status'])).out).toContain('failed');
  });

  test('two runs at once make each stage once, and both end well', async () => {
    const folder = rig.folder;
    rig.write(
      'a.yaml',
      spec(stage('first', { folder, waits: true }) + stage('second', { folder, inputs: 'first' })),
    );
    const both = [rig.start(['run', 'a.yaml', '--json']), rig.start(['run', 'a.yaml', '--json'])];
    await rig.until(async () => (await rig.waiters()) === 2);
    rig.write('go', '');
    const ended = await Promise.all(both.map((run) => run.ended));
    expect(ended.map(({ code }) => code)).toEqual([0, 0]);
    expect(rig.lines('ran')).toEqual(['first', 'second']);
    expect([rig.worker(), rig.server()]).toEqual([undefined, undefined]);
  });

  test('cancelling one run leaves a shared stage to the other', async () => {
    const folder = rig.folder;
    const shared = stage('shared', { folder, waits: true });
    rig.write('a.yaml', spec(shared + stage('mine', { folder, inputs: 'shared' })));
    rig.write('b.yaml', spec(shared + stage('theirs', { folder, inputs: 'shared' })));
    const one = rig.start(['run', 'a.yaml', '--json']);
    await rig.until(() => rig.lines('ran').includes('shared'));
    const two = rig.start(['run', 'b.yaml', '--json']);
    await rig.until(async () => (await rig.waiters()) === 2);
    one.child.kill('SIGINT');
    const cancelled = await one.ended;
    rig.write('go', '');
    const done = await two.ended;
    expect(cancelled.code).toBe(130);
    expect(JSON.parse(cancelled.out)).toMatchObject({ state: 'cancelled' });
    expect(done.code).toBe(0);
    expect(rig.lines('ran')).toEqual(['shared', 'theirs']);
  });

  test('Ctrl-C stops the jobs, leaves nothing running, and the same command goes on', async () => {
    const folder = rig.folder;
    rig.write(
      'a.yaml',
      spec(stage('first', { folder }) + stage('long', { folder, inputs: 'first', waits: true })),
    );
    const run = rig.start(['run', 'a.yaml']);
    await rig.until(() => rig.lines('ran').includes('long'));
    await rig.until(() => rig.jobs().length === 1);
    run.child.kill('SIGINT');
    const stopped = await run.ended;
    expect(stopped.code).toBe(130);
    expect(stopped.err).toContain('the same command goes on from here');
    expect(rig.jobs()).toEqual([]);
    expect([rig.worker(), rig.server()]).toEqual([undefined, undefined]);
    rig.write('go', '');
    expect((await rig.run(['run', 'a.yaml'])).code).toBe(0);
    expect(rig.lines('ran')).toEqual(['first', 'long', 'long']);
  });
});
