import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listActs } from '../../lineage/act.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { CliRig } from '../support/cli-rig.ts';
import { smallTraining } from '../support/small-training.ts';

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 240_000);
afterEach(async () => {
  await rig.close();
});

const train = smallTraining({ steps: 300, batchSize: 4, snapshotEvery: 1000, evaluateEvery: 1000 });

function command(name: string, script: string, more = ''): string {
  return `  ${name}: { kind: command, ${more}with: { argv: [sh, -c, '${script}', sh, "{out}"], outputs: { out: out } } }\n`;
}

describe('what a person says to a run', { timeout: 300_000 }, () => {
  test('pause takes a snapshot and stops the job; resume goes on from there; both are in lineage', async () => {
    rig.write('a.yaml', `fretsaw: v1\nname: test\nstages:\n${train}`);
    const run = rig.start(['run', 'a.yaml', '--json']);
    await rig.until(() => rig.step() > 20, 120);
    expect(
      (await rig.run(['pause', 'last', 'train', '--by', 'ada', '--reason', 'maintenance'])).out,
    ).toContain('noted');
    await rig.until(() => rig.jobs().length === 0, 120);
    expect((await rig.run(['pause', 'last', 'train'])).out).toContain('already');
    const shown = (await rig.run(['show', 'last'])).out;
    expect(shown).toMatch(/train +paused/);
    expect((await rig.run(['resume', 'last', '--json'])).code).toBe(0);
    const { code, out } = await run.ended;
    expect(code).toBe(0);
    const ended = JSON.parse(out) as { run: string };
    const after = (await rig.run(['show', 'last'])).out;
    expect(after).toContain('pause train by ada at ');
    expect(after).toMatch(/attempt 1 .*PREEMPTED/);
    expect(after).toMatch(/2 attempts \(1 PREEMPTED\), [\d.]+ s lost/);
    expect(after).toMatch(/attempt 2 .*from the snapshot of step \d+: done/);
    const { documents } = openDiskStore({ home: rig.home, domain: 'local', trusted: [] });
    const acts = await listActs(documents, ended.run);
    expect(acts.map(({ act, stage }) => [act, stage])).toEqual([
      ['pause', 'train'],
      ['resume', undefined],
    ]);
  });

  test('a stage waits for its approval; another is cancelled and takes what reads it along', async () => {
    const wait = `while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done; echo > "$1"/x`;
    rig.write(
      'a.yaml',
      `fretsaw: v1\nname: test\nstages:\n` +
        command('slow', wait) +
        command('behind', 'echo > "$1"/x', 'inputs: { a: slow.out }, ') +
        command('asked', 'echo asked > "$1"/x', 'approve: "is it wise?", '),
    );
    const run = rig.start(['run', 'a.yaml', '--json']);
    await rig.until(() => rig.jobs().length === 1);
    expect((await rig.run(['approve', 'last', 'asked'])).code).toBe(2);
    expect((await rig.run(['approve', 'last', 'asked', '--reason', 'it is'])).out).toContain('noted');
    expect((await rig.run(['cancel', 'last', 'slow'])).out).toContain('noted');
    const { code, out } = await run.ended;
    expect(code).toBe(130);
    expect(JSON.parse(out)).toMatchObject({
      stages: { asked: { kind: 'ran' }, slow: { kind: 'cancelled' }, behind: { kind: 'cancelled' } },
    });
    expect(rig.jobs()).toEqual([]);
  });
});
