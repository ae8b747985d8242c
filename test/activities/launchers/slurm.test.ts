import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { JobFolder } from '../../../activities/job-folder.ts';
import type { JobCommand } from '../../../activities/launchers/launcher.ts';
import { SlurmClient } from '../../../activities/launchers/slurm/slurm-client.ts';
import { SlurmLauncher } from '../../../activities/launchers/slurm/slurm.ts';
import type { SlurmSettings } from '../../../compiler/pool.ts';
import { programPaths } from '../../../workers/worker-settings.ts';
import { root } from '../../support/built.ts';
import { SlurmRig, whyNoSlurm } from '../../support/slurm-rig.ts';
import { keyOf } from '../../support/workflow-rig.ts';
import { emptyJob } from '../../support/job-file.ts';

const settings: SlurmSettings = { gpus_per_node: 1, options: [], poll_seconds: 0.5, partition: 'low' };
const why = whyNoSlurm();
const suite = why === undefined ? describe : describe.skip;
let folder: string;
let rig: SlurmRig;
let jobs = 0;

/** Another worker's launcher: it knows nothing but the job's folder. */
function launcher(more: Partial<SlurmSettings> = {}): SlurmLauncher {
  const client = new SlurmClient({ env: rig.env, pollMs: settings.poll_seconds * 1000 });
  return new SlurmLauncher({
    client,
    settings: { ...settings, ...more },
    python: programPaths.python(root),
    paths: [folder, root],
    secret: (name) => (name === 'HF_TOKEN' ? 'planted-secret' : undefined),
  });
}

async function jobFolder(): Promise<JobFolder> {
  const job = new JobFolder(join(folder, 'work'), keyOf(`job ${++jobs}`), 1);
  await job.prepare(emptyJob(job, { key: keyOf('job'), kind: 'command' }));
  return job;
}

function shell(job: JobFolder, script: string, more: Partial<JobCommand> = {}): JobCommand {
  return {
    runner: 'command',
    argv: ['bash', '-c', script],
    env: { PATH: process.env['PATH'] ?? '', GREETING: "it's here" },
    secrets: {},
    cwd: job.path,
    ranks: 1,
    resources: { cpus: 1, gpus: 0 },
    ...more,
  };
}

async function ended(job: JobFolder, of = launcher()): Promise<void> {
  await rig.until(async () => (await of.poll(job)) !== 'running', 90);
}

const slurmId = (job: JobFolder): string =>
  (JSON.parse(readFileSync(job.process, 'utf8')) as { job: string }).job;

suite(`jobs of a real Slurm${why === undefined ? '' : `: ${why}`}`, { timeout: 180_000 }, () => {
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fretsaw-slurm-'));
    rig = SlurmRig.start(join(folder, 'slurm'), { port: 26840 });
  }, 120_000);
  afterAll(() => {
    rig.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('a job of one node ends with its exit code, its log, and a secret that no file holds', async () => {
    const job = await jobFolder();
    const of = launcher();
    const command = shell(job, 'echo "$GREETING ${#HF_TOKEN}"; exit 3', {
      secrets: { HF_TOKEN: 'HF_TOKEN' },
    });
    await of.start(job, command);
    await ended(job, of);
    expect(await job.readExit()).toBe(3);
    expect(await of.logs(job)).toEqual([job.log]);
    expect(readFileSync(job.log, 'utf8')).toContain(`it's here ${'planted-secret'.length}\n`);
    expect(await of.cause(job)).toBeUndefined();
    const script = readFileSync(job.script, 'utf8');
    expect(script).not.toContain('planted-secret');
    expect(script).toContain('sbatch must have these in its environment: HF_TOKEN');
  });

  test('the script is one that a person can run again', async () => {
    const job = await jobFolder();
    await launcher().start(job, shell(job, 'date +%s%N >> ran'));
    await ended(job);
    rig.run('sbatch', '--wait', job.script);
    expect(readFileSync(join(job.path, 'ran'), 'utf8').trim().split('\n')).toHaveLength(2);
  });

  test('ranks of two nodes find each other, and each has a log', async () => {
    const job = await jobFolder();
    writeFileSync(
      join(job.path, 'fretsaw_engine.py'),
      `import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
value = torch.tensor([dist.get_rank() + 1])
dist.all_reduce(value)
print(f"rank {dist.get_rank()} of {dist.get_world_size()} on {os.environ['SLURMD_NODENAME']}: {value.item()}", flush=True)
dist.destroy_process_group()
`,
    );
    const env = { PATH: process.env['PATH'] ?? '', PYTHONPATH: job.path, OMP_NUM_THREADS: '1' };
    const of = launcher();
    await of.start(job, shell(job, '', { runner: 'engine', env, ranks: 2, resources: { cpus: 1, gpus: 2 } }));
    await rig.until(async () => (await of.poll(job)) !== 'running', 150);
    const logs = (await of.logs(job)).filter((name) => name.endsWith('stdout.log'));
    const said = logs.map((name) => readFileSync(name, 'utf8').trim());
    expect(said, readFileSync(job.log, 'utf8')).toEqual(['rank 0 of 2 on n1: 3', 'rank 1 of 2 on n2: 3']);
    expect(await job.readExit()).toBe(0);
  });

  test('a job outlives the launcher that started it: another finds it, by its name if need be', async () => {
    const job = await jobFolder();
    await launcher().start(job, shell(job, 'while [ ! -e go ]; do sleep 0.1; done'));
    rmSync(job.process); // its worker died before it could note the id
    const found = launcher();
    expect(await found.poll(job)).toBe('running');
    writeFileSync(join(job.path, 'go'), '');
    await ended(job, found);
    expect(await job.readExit()).toBe(0);
  });

  test('a stopped job takes a last snapshot first; one that does not listen is killed', async () => {
    const [polite, deaf] = [await jobFolder(), await jobFolder()];
    const of = launcher();
    const wait = 'touch up; for i in $(seq 600); do sleep 0.1; done';
    await of.start(polite, shell(polite, `trap 'echo snapshot > snapshot; exit 75' TERM; ${wait}`));
    await of.start(deaf, shell(deaf, `trap '' TERM; ${wait}`));
    await rig.until(() => [polite, deaf].every((job) => existsSync(join(job.path, 'up'))));
    await of.stop(polite, 30);
    expect(existsSync(join(polite.path, 'snapshot'))).toBe(true);
    expect(await polite.readExit()).toBe(75);
    await of.stop(deaf, 1);
    expect(await of.poll(deaf)).toBe('ended');
    await rig.until(() => rig.stateOf(slurmId(deaf)) === 'CANCELLED');
  });

  test('a job that waits in the queue is stopped before it has begun', async () => {
    const job = await jobFolder();
    const of = launcher({ options: ['--begin=now+1hour'] });
    await of.start(job, shell(job, 'touch began'));
    expect(await of.poll(job)).toBe('running');
    await of.stop(job, 60);
    expect(await of.poll(job)).toBe('ended');
    expect(existsSync(join(job.path, 'began'))).toBe(false);
  });

  test('a preempted job gets SIGTERM and its grace time, and is called preempted although Slurm calls it completed', async () => {
    const job = await jobFolder();
    const of = launcher({ options: ['--nodelist=n1', '--exclusive'] });
    await of.start(
      job,
      shell(
        job,
        `trap 'echo snapshot > snapshot; exit 75' TERM; touch up; for i in $(seq 600); do sleep 0.1; done`,
      ),
    );
    await rig.until(() => existsSync(join(job.path, 'up')));
    const other = rig.run(
      'sbatch',
      '--parsable',
      '--partition=high',
      '--nodelist=n1',
      '--exclusive',
      '--output=/dev/null',
      '--wrap=true',
    );
    await ended(job, of);
    expect(existsSync(join(job.path, 'snapshot'))).toBe(true);
    await rig.until(() => rig.stateOf(slurmId(job)) === 'FAILED');
    expect(await of.cause(job)).toMatchObject({ code: 'PREEMPTED' });
    await rig.until(() => rig.stateOf(other) === 'COMPLETED');
  });

  test('while the controller does not answer, a job counts as running until its own files say that it has ended', async () => {
    const job = await jobFolder();
    await launcher().start(job, shell(job, 'while [ ! -e go ]; do sleep 0.1; done'));
    const elsewhere = join(folder, 'elsewhere.conf');
    const conf = readFileSync(rig.env['SLURM_CONF'] ?? '', 'utf8');
    writeFileSync(elsewhere, conf.replace(/^SlurmctldPort=.*$/m, 'SlurmctldPort=1\nMessageTimeout=2'));
    const away = new SlurmLauncher({
      client: new SlurmClient({ env: { ...rig.env, SLURM_CONF: elsewhere }, pollMs: 100 }),
      settings,
      python: 'python',
      paths: [],
      secret: () => undefined,
    });
    expect(await away.poll(job)).toBe('running');
    await expect(away.stop(job, 0)).rejects.toThrow('the Slurm controller does not answer');
    writeFileSync(join(job.path, 'go'), '');
    await rig.until(async () => (await away.poll(job)) === 'ended');
  });

  test('a lost node is NODE_LOST, and is not started again behind our back', async () => {
    const job = await jobFolder();
    const of = launcher({ options: ['--nodelist=n3'] });
    await of.start(job, shell(job, 'echo began >> began; while [ ! -e go ]; do sleep 0.1; done'));
    await rig.until(() => existsSync(join(job.path, 'began')));
    rig.killNode('n3');
    await ended(job, of);
    const shown = await new SlurmClient({ env: rig.env, pollMs: 0 }).explain(slurmId(job));
    expect(await of.cause(job), JSON.stringify(shown)).toMatchObject({ code: 'NODE_LOST' });
    expect(readFileSync(join(job.path, 'began'), 'utf8')).toBe('began\n');
    writeFileSync(join(job.path, 'go'), ''); // what the lost node still runs
  });

  test('all jobs are looked at in one call', async () => {
    const calls = join(folder, 'calls');
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'squeue'), `#!/bin/sh\necho call >> ${calls}\nexec /usr/bin/squeue "$@"\n`, {
      mode: 0o755,
    });
    const env = { ...rig.env, PATH: `${bin}:${rig.env['PATH'] ?? ''}` };
    const client = new SlurmClient({ env, pollMs: 60_000 });
    const queues = await Promise.all(Array.from({ length: 50 }, () => client.queue()));
    expect(new Set(queues).size).toBe(1);
    expect(readFileSync(calls, 'utf8')).toBe('call\n');
  });
});

suite(
  `a job that the controller has forgotten${why === undefined ? '' : `: ${why}`}`,
  { timeout: 120_000 },
  () => {
    test.each([
      ['with accounting, its end is looked up there', true, { state: 'CANCELLED' }],
      ['without accounting, its own files say how it ended', false, undefined],
    ])('%s', async (_, hasAccounting, expected) => {
      folder = mkdtempSync(join(tmpdir(), 'fretsaw-slurm-'));
      rig = SlurmRig.start(join(folder, 'slurm'), { port: 26850, hasAccounting });
      try {
        const job = await jobFolder();
        const of = launcher();
        await of.start(job, shell(job, 'touch up; sleep 60'));
        await rig.until(() => existsSync(join(job.path, 'up')));
        const id = slurmId(job);
        rig.run('scancel', id);
        await ended(job, of);
        // The controller forgets within minutes; this is what scontrol says then.
        const bin = join(folder, 'bin');
        mkdirSync(bin);
        const forgotten = '#!/bin/sh\necho "slurm_load_jobs error: Invalid job id specified" >&2\nexit 1\n';
        writeFileSync(join(bin, 'scontrol'), forgotten, { mode: 0o755 });
        const env = { ...rig.env, PATH: `${bin}:${rig.env['PATH'] ?? ''}` };
        const known = await new SlurmClient({ env, pollMs: 100 }).explain(id);
        expect(known === undefined ? undefined : { state: known.state }).toEqual(expected);
      } finally {
        rig.stop();
        rmSync(folder, { recursive: true, force: true });
      }
    });
  },
);
