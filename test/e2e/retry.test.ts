import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { root } from '../support/built.ts';
import { CliRig } from '../support/cli-rig.ts';
import { smallTraining } from '../support/small-training.ts';

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 240_000);
afterEach(async () => {
  await rig.close();
});

interface Shown {
  run: string;
  retry?: { with: object; continues?: { step: number } };
  stages: {
    stage: string;
    state: string;
    key: string;
    attempts: { outcome: string; resumedFrom?: object }[];
  }[];
}

async function shown(): Promise<Shown> {
  return JSON.parse((await rig.run(['show', 'last', '--json'])).out) as Shown;
}

/** Taken by any job here. */
function hasSnapshot(step: number): boolean {
  const work = join(rig.home, 'work');
  const name = `snapshots/${String(step).padStart(8, '0')}`;
  return (
    existsSync(work) && readdirSync(work, { recursive: true }).some((path) => String(path).endsWith(name))
  );
}

/** What the first attempt at a key told first. */
function firstStep(key: string): number {
  const events = join(rig.home, 'work', key.replace('sha256:', ''), '1', 'events.jsonl');
  return Number(/"progress".*?"step": (\d+)/.exec(readFileSync(events, 'utf8'))?.[1]);
}

const training = `fretsaw: v1
name: training
stages:
${smallTraining({ steps: 60, batchSize: 2, snapshotEvery: 20, evaluateEvery: 1000 })}`;

/** The committed parent distilled into itself, with cross-entropy, since the divergence is none: a real training of a few seconds. */
const distilling = `fretsaw: v1
name: distilling
inputs: { parent: { checkpoint: ${join(root, 'specs', 'rehearsal', 'parent')} } }
stages:
  data:
    kind: prepare
    inputs: { tokenizer: parent }
    with: { generator: rehearsal-tasks, split: calibration, examples: 64, with_targets: true, sequence_length: 64 }
  distill:
    kind: distill
    inputs: { teacher: parent, student: parent, data: [data.data] }
    with: { tokens: 30000, sequence_length: 64, batch_size: 4, snapshot_every: 10, ce_weight: 1, spike_factor: 1e9 }
`;

const copies = (word: string): string => `fretsaw: v1
name: copies
stages:
  made: { kind: command, with: { argv: [sh, -c, 'echo same > "$1"/x; echo ${word} >> ${rig.folder}/ran', sh, "{out}"], outputs: { out: out } } }
  read: { kind: command, inputs: { a: made.out }, with: { argv: [sh, -c, 'echo read >> ${rig.folder}/ran; cp "$1"/x "$2"/y', sh, "{a}", "{out}"], outputs: { out: out } } }
`;

describe('what is done about a run that is over', { timeout: 400_000 }, () => {
  test('retry with another setting is a new key that continues from the snapshot of the old one, and says so', async () => {
    rig.write('a.yaml', training);
    expect((await rig.run(['run', 'a.yaml'])).code).toBe(0);
    const before = await shown();
    expect((await rig.run(['retry', 'last', 'train', '--with', 'learning_rat=1'])).code).toBe(2);
    const retry = await rig.run([
      'retry',
      'last',
      'train',
      '--with',
      'learning_rate=1e-3',
      '--reason',
      'too fast',
    ]);
    expect(retry.code).toBe(0);
    expect(retry.err).toMatch(/a new key with learning_rate 1e-3; it continues from step 40 of/);
    const after = await shown();
    expect(after.retry).toMatchObject({ with: { learning_rate: '1e-3' }, continues: { step: 40 } });
    expect(after.stages[0]?.key).not.toBe(before.stages[0]?.key);
    expect((await rig.run(['logs', 'last', 'train'])).out).toContain('resumed at step 40');
    const again = await rig.run(['retry', before.run, '--json']);
    expect(JSON.parse(again.out)).toMatchObject({ run: null, counts: { cached: 1, ran: 0 } });
  });

  test('from-snapshot goes on where a person says, under the same key; with another setting as a new key', async () => {
    rig.write('a.yaml', distilling);
    const run = rig.start(['run', 'a.yaml']);
    await rig.until(() => hasSnapshot(20), 180);
    run.child.kill('SIGINT');
    expect((await run.ended).code).toBe(130);
    const stopped = await shown();
    const key = stopped.stages.find(({ stage }) => stage === 'distill')?.key;

    const nowhere = await rig.run(['retry', stopped.run, 'distill', '--from-snapshot', '33']);
    expect([nowhere.code, nowhere.err]).toEqual([
      3,
      expect.stringMatching(/no snapshot of step 33: there are 10, 20, .*\d+/),
    ]);

    expect((await rig.run(['retry', stopped.run, 'distill', '--from-snapshot', '10'])).code).toBe(0);
    const same = (await shown()).stages.find(({ stage }) => stage === 'distill');
    expect(same?.key).toBe(key);
    expect(same?.attempts.at(-1)).toMatchObject({ outcome: 'done', resumedFrom: { attempt: 1, step: 10 } });

    const made = await rig.run(['retry', 'last', 'distill', '--from-snapshot', '10']);
    expect([made.code, made.err]).toEqual([2, expect.stringContaining('distill is made')]);

    const args = ['retry', stopped.run, 'distill', '--with', 'learning_rate=1e-4', '--from-snapshot', '20'];
    const other = await rig.run(args);
    expect(other.code).toBe(0);
    expect(other.err).toMatch(/a new key with learning_rate 1e-4; it continues from step 20 of/);
    const after = await shown();
    expect(after.retry).toMatchObject({ continues: { step: 20 } });
    expect(after.stages.find(({ stage }) => stage === 'distill')?.key).not.toBe(key);
    expect(firstStep(after.stages.find(({ stage }) => stage === 'distill')?.key ?? '')).toBeGreaterThan(20);
  });

  test('accept lets an old record stand for a new key; fork begins where a run ended', async () => {
    rig.write('a.yaml', copies('one'));
    expect((await rig.run(['run', 'a.yaml'])).code).toBe(0);
    const old = (await shown()).stages[0]?.key ?? '';
    rig.write('a.yaml', copies('two'));
    const args = ['accept', old, '--spec', 'a.yaml', '--for', 'made'];
    expect((await rig.run(args)).code).toBe(2);
    const accepted = await rig.run([...args, '--reason', 'only the note differs', '--by', 'ada']);
    expect(accepted.out).toContain('by ada: only the note differs');
    expect((await rig.run([...args, '--reason', 'again'])).code).toBe(1);
    const run = await rig.run(['run', 'a.yaml', '--json']);
    expect(JSON.parse(run.out)).toMatchObject({ counts: { cached: 2, ran: 0 } });
    expect(rig.lines('ran')).toEqual(['one', 'read']);
  });

  test('fork writes a spec that asks for what the run asked for', async () => {
    rig.write('a.yaml', copies('one'));
    expect((await rig.run(['run', 'a.yaml'])).code).toBe(0);
    expect((await rig.run(['fork', 'last', 'b.yaml'])).out).toContain('it asks for what the run asked for');
    expect((await rig.run(['fork', 'last', 'b.yaml'])).code).toBe(2);
    expect(readFileSync(join(rig.folder, 'b.yaml'), 'utf8')).toContain('extends: ./a.yaml');
    const run = await rig.run(['run', 'b.yaml', '--json']);
    expect(JSON.parse(run.out)).toMatchObject({ spec: 'b', counts: { cached: 2, ran: 0 } });
  });
});
