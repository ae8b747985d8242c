import { afterEach, beforeEach, expect, test } from 'vitest';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CliRig } from '../support/cli-rig.ts';

const spec = `fretsaw: v1
name: resume
stages:
  train:
    kind: pretrain
    with:
      model: { layers: 2, hidden: 32, intermediate: 32, experts: 4 }
      steps: 400
      batch_size: 4
      warmup_steps: 5
      drill_most_steps: 20
      snapshot_every: 50
      evaluate_every: 1000
      evaluate_examples: 1
      final_examples: 1
`;

const rigs: CliRig[] = [];
beforeEach(async () => {
  for (let n = 0; n < 2; n++) rigs.push(await CliRig.open());
}, 120_000);
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

interface Trained {
  state: string;
  stages: { train: { outputs: { checkpoint: { digest: string } } } };
}

test(
  'a training killed by kill -9 goes on from its last snapshot and ends with the same bytes; its log is followed over both attempts',
  { timeout: 240_000 },
  async () => {
    const [calm, killed] = rigs;
    if (calm === undefined || killed === undefined) throw new Error('bug: no rigs');
    for (const rig of rigs) rig.write('a.yaml', spec);
    const undisturbed = JSON.parse((await calm.run(['run', 'a.yaml', '--json'])).out) as Trained;

    const run = killed.start(['run', 'a.yaml', '--json']);
    const work = join(killed.home, 'work');
    const hasSnapshot = (): boolean =>
      existsSync(work) &&
      readdirSync(work, { recursive: true }).some((name) => /snapshots.\d{8}$/.test(String(name)));
    await killed.until(hasSnapshot, 60);
    const logs = killed.start(['logs', 'last', 'train', '-f']);
    let followed = '';
    logs.child.stdout?.on('data', (chunk: Buffer) => (followed += chunk.toString()));
    await killed.until(() => followed !== '', 60);
    for (const { pid } of killed.jobs()) process.kill(-pid, 'SIGKILL');
    const disturbed = JSON.parse((await run.ended).out) as Trained;

    expect([undisturbed.state, disturbed.state]).toEqual(['done', 'done']);
    expect(disturbed.stages.train.outputs.checkpoint.digest).toBe(
      undisturbed.stages.train.outputs.checkpoint.digest,
    );
    // Over the attempt that was killed and the one after it, until the stage has ended.
    const { code, out } = await logs.ended;
    expect(code).toBe(0);
    expect(out.match(/^-- attempt \d+$/gm)).toEqual(['-- attempt 2']);
    expect(out.slice(out.indexOf('-- attempt 2'))).toMatch(/resumed at step \d+/);
    expect(out.slice(0, out.indexOf('-- attempt 2'))).not.toContain('resumed at step');
    const shown = (await killed.run(['show', 'last'])).out;
    expect(shown).toContain('NODE_LOST: the job was killed');
    expect(shown).toMatch(/attempt 2 .*from the snapshot of step \d+: done/);
  },
);
