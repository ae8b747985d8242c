import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CliRig, type Running } from '../support/cli-rig.ts';
import { SlurmRig, whyNoSlurm } from '../support/slurm-rig.ts';

const why = whyNoSlurm();
const suite = why === undefined ? describe : describe.skip;

suite(`a pool behind a real Slurm${why === undefined ? '' : `: ${why}`}`, { timeout: 400_000 }, () => {
  let rig: CliRig;
  let slurm: SlurmRig;
  beforeAll(async () => {
    rig = await CliRig.open();
    chmodSync(rig.folder, 0o755);
    slurm = SlurmRig.start(join(rig.folder, 'slurm'), { port: 26860 });
  }, 300_000);
  afterAll(async () => {
    slurm.stop();
    await rig.close();
  });

  async function startWorker(): Promise<Running> {
    const worker = rig.start(['worker', '--pool', './big.yaml'], slurm.env);
    let told = '';
    worker.child.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()));
    await rig.until(() => told.includes('serving queue big'), 120);
    return worker;
  }

  test('a stage outlives its worker, is preempted, goes on in another attempt as the user of the pool, and tells all that', async () => {
    rig.write(
      'big.yaml',
      `fretsaw: pool/v1
name: big
launcher: slurm
jobs: { user: nobody }
slurm: { partition: low, poll_seconds: 0.5, options: ["--nodelist=n1", "--exclusive"] }
`,
    );
    const script = `id -un; while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done; echo made > "$0"/x`;
    rig.write(
      'a.yaml',
      `fretsaw: v1
name: test
stages:
  big: { kind: command, pool: big, with: { argv: [sh, -c, '${script}', "{out}"], outputs: { out: out } } }
`,
    );
    const names = (state: string): string[] =>
      slurm
        .run('squeue', '--noheader', '--states=all', '--format=%T|%u|%j')
        .split('\n')
        .filter((line) => line.startsWith(`${state}|nobody|fretsaw-`));
    const first = await startWorker();
    const run = rig.start(['run', 'a.yaml', '--json']);
    await rig.until(() => names('RUNNING').length === 1, 120);
    first.child.kill('SIGKILL');
    const second = await startWorker();
    const urgent = ['--partition=high', '--nodelist=n1', '--exclusive', '--output=/dev/null', '--wrap=true'];
    const other = slurm.run('sbatch', '--parsable', ...urgent);
    await slurm.until(() => slurm.stateOf(other) === 'COMPLETED', 120);
    await slurm.until(() => names('RUNNING').some((line) => line.endsWith('-2')), 120);
    rig.write('go', '');
    const { out, code, err } = await run.ended;
    expect(code, err).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ state: 'done', stages: { big: { kind: 'ran' } } });
    const shown = (await rig.run(['show', 'last'])).out;
    expect(shown).toMatch(/attempt 1 .*PREEMPTED: /);
    expect(shown).toMatch(/attempt 2 .*: done/);
    expect((await rig.run(['logs', 'last', 'big'])).out).toContain('nobody\n');
    second.child.kill('SIGTERM');
    await second.ended;
  });
});
