import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliRig } from '../support/cli-rig.ts';

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
  stages: { stage: string; state: string; key: string; attempts: { resumedFrom?: object }[] }[];
}

async function shown(): Promise<Shown> {
  return JSON.parse((await rig.run(['show', 'last', '--json'])).out) as Shown;
}

const training = `fretsaw: v1
name: training
stages:
  train:
    kind: pretrain
    with:
      model: { layers: 2, hidden: 32, intermediate: 32, experts: 4 }
      steps: 60
      batch_size: 2
      warmup_steps: 5
      drill_most_steps: 20
      snapshot_every: 20
      evaluate_every: 1000
      evaluate_examples: 1
      final_examples: 1
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
