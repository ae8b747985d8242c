import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JobFolder } from '../../activities/job-folder.ts';
import { Failure } from '../../core/errors.ts';
import { JobRig, type Tried } from '../support/job-rig.ts';

let rig: JobRig;
beforeAll(async () => {
  rig = await JobRig.open();
}, 240_000);
afterAll(() => {
  rig.close();
});

const pidOf = (job: JobFolder): number =>
  (JSON.parse(readFileSync(job.process, 'utf8')) as { pid: number }).pid;

/** The process of a rank under torchrun, by the environment that it was given. */
async function rankOf(job: JobFolder, rank: number): Promise<number> {
  for (;;) {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    const found = pids.find((pid) => isRank(pid, job.job, rank));
    if (found !== undefined) return Number(found);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function isRank(pid: string, job: string, rank: number): boolean {
  try {
    const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    const env = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return argv.includes(job) && !argv.includes('torch.distributed') && env.includes(`RANK=${rank}`);
  } catch {
    return false;
  }
}

function kill(signal: NodeJS.Signals): (job: JobFolder) => void {
  return (job) => void process.kill(-pidOf(job), signal);
}

async function textOf(tried: Tried, path: string): Promise<string> {
  const logs = tried.attempts.at(-1)?.logs;
  return logs === undefined
    ? ''
    : Buffer.from(await rig.store.artifacts.readFile(logs.digest, path)).toString();
}

describe('a job that ends badly', { timeout: 240_000 }, () => {
  test.each([
    ['memory', 'OUT_OF_MEMORY', 1],
    ['nan', 'NAN_LOSS', 1],
    ['input', 'BAD_INPUT', 1],
    ['exception', 'ENGINE_BUG', 1],
    ['crash', 'ENGINE_BUG', 128 + 11],
    ['exit', 'ENGINE_BUG', 3],
    ['terminated', 'PREEMPTED', 128 + 15],
  ])('by %s is %s, with its exit code and its last lines', async (mode, code, exit) => {
    const tried = await rig.attempt(await rig.key({ mode }));
    expect(tried.failure?.code).toBe(code);
    expect(tried.attempts).toMatchObject([{ outcome: 'failed', failure: { code }, exit }]);
    expect(tried.attempts[0]?.lastLines?.[0]).toBe(`${mode} from step 0`);
    expect(await textOf(tried, 'log')).toContain(`${mode} from step 0`);
    expect(await textOf(tried, 'events.jsonl')).toContain('"started"');
  });

  test('because it was asked to stop is PREEMPTED, and leaves a snapshot to go on from', async () => {
    const key = await rig.key({ mode: 'asked', step_seconds: 0.1 });
    const tried = await rig.attempt(key, {}, kill('SIGTERM'));
    expect(tried.failure?.code).toBe('PREEMPTED');
    expect(tried.attempts).toMatchObject([{ exit: 75 }]);
    expect(await rig.store.snapshots.list(key)).toHaveLength(1);
  });

  test('by kill -9 is NODE_LOST', async () => {
    const tried = await rig.attempt(await rig.key({ mode: 'killed' }), {}, kill('SIGKILL'));
    expect(tried.failure?.code).toBe('NODE_LOST');
    expect(tried.attempts).toMatchObject([{ failure: { code: 'NODE_LOST' } }]);
  });

  test('because one of its ranks was killed is NODE_LOST, whatever torchrun and the other ranks say of it', async () => {
    const key = await rig.key({ mode: 'rank killed', step_seconds: 0.2 });
    const changes = { resources: { cpus: 1, gpus: 2 } };
    const tried = await rig.attempt(key, changes, async (job) => {
      const rank = await rankOf(job, 1);
      process.kill(rank, 'SIGKILL');
    });
    expect(tried.failure?.code).toBe('NODE_LOST');
    expect(tried.attempts).toMatchObject([{ outcome: 'failed', failure: { code: 'NODE_LOST' }, exit: 1 }]);
    expect(await textOf(tried, 'log')).toContain('Root Cause');
  });

  test('because one of its ranks crashed is ENGINE_BUG, with the signal', async () => {
    const key = await rig.key({ mode: 'rank crashed', step_seconds: 0.2 });
    const changes = { resources: { cpus: 1, gpus: 2 } };
    const tried = await rig.attempt(key, changes, async (job) => {
      process.kill(await rankOf(job, 1), 'SIGSEGV');
    });
    expect(tried.failure?.code).toBe('ENGINE_BUG');
    expect(tried.failure?.message).toContain('SIGSEGV');
  });

  test('over its wall clock is TIMEOUT, after a last snapshot, and was told at 80 %', async () => {
    const key = await rig.key({ mode: 'long' });
    const tried = await rig.attempt(key, { budget: { hours: 6 / 3600 } });
    expect(tried.failure?.code).toBe('TIMEOUT');
    expect(rig.told.at(-1)?.[0]).toBe('budget');
    expect(await rig.store.snapshots.list(key)).toHaveLength(1);
  });

  test('over its GPU hours is BUDGET_SPENT, counting the attempts before', async () => {
    const key = await rig.key({ mode: 'costly' });
    const changes = { budget: { gpu_hours: 6 / 3600 }, resources: { cpus: 1, gpus: 1 } };
    const first = await rig.attempt(key, changes, kill('SIGKILL'));
    expect(first.failure?.code).toBe('NODE_LOST');
    const second = await rig.attempt(key, changes);
    expect(second.failure?.code).toBe('BUDGET_SPENT');
    expect(second.failure?.message).toMatch(/of 0\.00167 GPU hours/);
  });

  test('silent for many times its usual step is STALLED: stacks of its processes are kept, then it is killed', async () => {
    const tried = await rig.attempt(await rig.key({ mode: 'hang' }), { stall: { times: 5, seconds: 2 } });
    expect(tried.failure?.code).toBe('STALLED');
    const stacks = await textOf(tried, 'stacks');
    expect(stacks).toMatch(/== process \d+, rank 0/);
    expect(stacks).toContain('wait_for_a_rank_that_never_comes');
  });

  test('hung in its first steps is STALLED too, and the stacks of all ranks are kept', async () => {
    const changes = { stall: { times: 5, seconds: 2 }, resources: { cpus: 1, gpus: 2 } };
    const key = await rig.key({ mode: 'ranks hung', step_seconds: 0.2 });
    const tried = await rig.attempt(key, changes, async (job) => {
      for (const rank of [0, 1]) process.kill(await rankOf(job, rank), 'SIGSTOP');
    });
    expect(tried.failure?.code).toBe('STALLED');
    const stacks = await textOf(tried, 'stacks');
    for (const rank of [0, 1]) expect(stacks).toMatch(new RegExp(`== process \\d+, rank ${rank}\nProcess`));
    expect(stacks).toContain('fretsaw_engine/job.py');
  });

  test('because its snapshot lies is RESUME_DRIFT, and the next attempt goes on from an older one', async () => {
    const key = await rig.key({ mode: 'drift', step_seconds: 0.1 });
    await rig.attempt(key, {}, kill('SIGTERM'));
    const [good] = await rig.store.snapshots.list(key);
    if (good === undefined) throw new Error('bug: no snapshot');
    const lie = new Map([['snapshot.json', Buffer.from('{"state": {"sum": -1}}')]]);
    const artifact = await rig.store.artifacts.putFiles(lie, { type: 'folder' });
    await rig.store.snapshots.create({ ...good, step: good.step + 1, artifact });
    const drifted = await rig.attempt(key);
    expect(drifted.failure?.code).toBe('RESUME_DRIFT');
    const next = await rig.attempt(key, {}, kill('SIGTERM'));
    expect(next.attempts.at(-1)).toMatchObject({
      resumedFrom: { step: good.step },
      failure: { code: 'PREEMPTED' },
    });
  });

  test('while the store is away is STORE_UNAVAILABLE; found again, it is not run again', async (context) => {
    const key = await rig.key({ mode: 'done' });
    const store = join(rig.folder, 'store');
    if (!mount('--bind', store, store)) return context.skip('mounting needs root');
    const tried = await rig
      .attempt(key, {}, () => void mount('-o', 'remount,ro,bind', store))
      .finally(() => execFileSync('umount', ['-l', store]));
    expect(tried.failure).toMatchObject({ code: 'STORE_UNAVAILABLE', retryable: true });
    expect(tried.attempts).toEqual([]);
    const again = await rig.attempt(key);
    expect(again.end).toEqual({ kind: 'stored' });
    expect(again.attempts).toMatchObject([{ attempt: 1, outcome: 'done', exit: 0 }]);
  });

  test('killed by the kernel for want of memory is OUT_OF_MEMORY', async (context) => {
    const group = `/sys/fs/cgroup/memory/fretsaw-${process.pid}`;
    if (!makeGroup(group)) return context.skip('a memory cgroup needs root and cgroup v1');
    try {
      const script = `echo $$ > ${group}/cgroup.procs; exec python3 -c "x = b'1' * 10**9"`;
      const key = await rig.key({ argv: ['/bin/sh', '-c', script], outputs: { out: 'out' } }, 'command');
      const tried = await rig.attempt(key, { kind: 'command' });
      expect(tried.failure?.code).toBe('OUT_OF_MEMORY');
    } finally {
      rmdirSync(group);
    }
  });
});

function mount(...args: string[]): boolean {
  try {
    execFileSync('mount', args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function makeGroup(path: string): boolean {
  try {
    mkdirSync(path);
    writeFileSync(join(path, 'memory.limit_in_bytes'), String(64 << 20));
    return true;
  } catch {
    return false;
  }
}

test('a code that is worth trying again says so', () => {
  expect(new Failure('STALLED', '').retryable).toBe(true);
  expect(new Failure('NAN_LOSS', '').retryable).toBe(false);
});
