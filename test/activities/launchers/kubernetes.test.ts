import { KubeConfig } from '@kubernetes/client-node';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { JobFolder } from '../../../activities/job-folder.ts';
import { Cluster } from '../../../activities/launchers/kubernetes/cluster.ts';
import { jobObject } from '../../../activities/launchers/kubernetes/job-object.ts';
import { KubernetesLauncher } from '../../../activities/launchers/kubernetes/kubernetes.ts';
import { podCommand } from '../../../activities/launchers/kubernetes/pod-command.ts';
import type { JobCommand } from '../../../activities/launchers/launcher.ts';
import type { KubernetesSettings } from '../../../compiler/pool.ts';
import { FakeKubernetes } from '../../support/fake-kubernetes.ts';
import { kubernetesFaults, kueueFaults } from '../../support/kubernetes-schemas.ts';
import { keyOf } from '../../support/workflow-rig.ts';

const settings: KubernetesSettings = {
  namespace: 'fretsaw',
  image: 'registry.example.org/fretsaw/engine',
  gpus_per_node: 8,
  gpu_resource: 'nvidia.com/gpu',
  jobset: false,
  claim: 'fretsaw-home',
  secret: 'fretsaw-secrets',
  node_selector: { 'nvidia.com/gpu.product': 'NVIDIA-H100-80GB-HBM3' },
  run_as: 10_001,
  poll_seconds: 0.01,
};

let api: FakeKubernetes;
let url: string;
let home: string;
beforeEach(async () => {
  api = new FakeKubernetes();
  url = await api.open();
  home = mkdtempSync(join(tmpdir(), 'fretsaw-kubernetes-'));
});
afterEach(async () => {
  await api.close();
  rmSync(home, { recursive: true, force: true });
});

function launcher(more: Partial<KubernetesSettings> = {}, pollMs = 0): KubernetesLauncher {
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'fake', server: url, skipTLSVerify: true }],
    users: [{ name: 'me', token: 'the-token' }],
    contexts: [{ name: 'fake', cluster: 'fake', user: 'me' }],
    currentContext: 'fake',
  });
  const all = { ...settings, ...more };
  const cluster = new Cluster({ config, namespace: 'fretsaw', hasJobSets: all.jobset, pollMs });
  return new KubernetesLauncher({ cluster, settings: all, python: '/opt/fretsaw/.venv/bin/python', home });
}

async function jobFolder(attempt = 1): Promise<JobFolder> {
  const folder = new JobFolder(join(home, 'work'), keyOf('job'), attempt);
  await folder.prepare({
    ...{
      schema: 'fretsaw/job/v1',
      key: keyOf('job'),
      kind: 'distill',
      version: '1',
      attempt,
      with: {},
      inputs: {},
    },
    ...{ outputs: {}, resources: {}, threads: 1, folder: folder.path, resume: null, lease: { seconds: 0 } },
  });
  return folder;
}

function command(folder: JobFolder, gpus: number): JobCommand {
  return {
    runner: 'engine',
    argv: ['python', '-m', 'fretsaw_engine', folder.job],
    env: { PATH: '/here', GREETING: 'costs $(5)' },
    secrets: { HF_TOKEN: 'HF_TOKEN' },
    cwd: folder.path,
    ranks: Math.max(1, gpus),
    resources: { cpus: 16, gpus, memory_gib: 256 },
  };
}

const name = `fretsaw-${keyOf('job').slice('sha256:'.length).slice(0, 16)}-1`;

test.each<[string, { gpus: number; more: Partial<KubernetesSettings>; kind: string }]>([
  ['a job without GPUs', { gpus: 0, more: {}, kind: 'Job' }],
  ['a node of eight', { gpus: 8, more: { queue: 'h100' }, kind: 'Job' }],
  ['eight nodes', { gpus: 64, more: { queue: 'h100' }, kind: 'Job' }],
  [
    'eight nodes as a JobSet',
    { gpus: 64, more: { queue: 'h100', jobset: true, service_account: 'jobs' }, kind: 'JobSet' },
  ],
])('%s: the object is one that the official schemas take', async (_, { gpus, more, kind }) => {
  const folder = await jobFolder();
  const of = { settings: { ...settings, ...more }, name, python: 'python', home, graceSeconds: 60 };
  const object = jobObject(folder, command(folder, gpus), of);
  expect(object.kind).toBe(kind);
  expect(kubernetesFaults(object)).toEqual([]);
  if (more.queue !== undefined) expect(kueueFaults(object)).toEqual([]);
  const text = JSON.stringify(object);
  expect(text).toContain('{"secretKeyRef":{"name":"fretsaw-secrets","key":"HF_TOKEN"}}');
  expect(text).not.toContain('"/here"');
  if (gpus > 0) expect(text).toContain('"nvidia.com/gpu":"8"');
});

test('the schemas are those that refuse: a wrong field is found', async () => {
  const folder = await jobFolder();
  const of = { settings, name, python: 'python', home, graceSeconds: 60 };
  const object = jobObject(folder, command(folder, 8), of);
  expect(kubernetesFaults({ ...object, spec: { ...object.spec, completionmode: 'Indexed' } })).not.toEqual(
    [],
  );
  expect(kueueFaults(object)).not.toEqual([]);
});

test('a job is created once, found by another worker by its name, and ends with what its files say', async () => {
  const folder = await jobFolder();
  expect(await launcher().poll(folder)).toBe('unknown');
  await launcher().start(folder, command(folder, 8));
  await launcher().start(folder, command(folder, 8)); // its worker died before it heard the answer
  expect([...api.jobs.keys()]).toEqual([name]);
  expect(await launcher().poll(folder)).toBe('running');
  api.end(name, 'Complete');
  expect(await launcher().poll(folder)).toBe('ended');
  expect(await launcher().cause(folder)).toBeUndefined();
});

test('what the API server refuses is the pool’s mistake; one that is away gives no job up', async () => {
  const folder = await jobFolder();
  await launcher().start(folder, command(folder, 8));
  api.isDown = true;
  expect(await launcher().poll(folder)).toBe('running');
  await expect(launcher().stop(folder, 0)).rejects.toMatchObject({ code: 'NODE_LOST' });
  writeFileSync(folder.exit, '0\n');
  expect(await launcher().poll(folder)).toBe('ended');
  api.isDown = false;
  const wrong = launcher({ run_as: 'root' as never });
  await expect(wrong.start(await jobFolder(2), command(folder, 8))).rejects.toMatchObject({
    code: 'BAD_INPUT',
  });
});

test('a JobSet is preempted by its queue, looked for by its own kind, and removed with its pods', async () => {
  const folder = await jobFolder();
  const of = launcher({ queue: 'h100', jobset: true });
  await of.start(folder, command(folder, 64));
  expect(await of.poll(folder)).toBe('running'); // suspended, and never begun: it waits for Kueue
  api.suspend(name, false);
  writeFileSync(folder.began, '');
  expect(await of.poll(folder)).toBe('running');
  api.suspend(name, true);
  expect(await of.poll(folder)).toBe('ended');
  expect(await of.cause(folder)).toMatchObject({ code: 'PREEMPTED' });
  api.addPod(`${name}-nodes-0`, { phase: 'Running' });
  await of.stop(folder, 60);
  expect([api.sets.size, api.pods.size]).toEqual([0, 0]);
  expect(await of.poll(folder)).toBe('ended');
});

test.each([
  [
    'PreemptionByScheduler',
    { conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'PreemptionByScheduler' }] },
    'PREEMPTED',
  ],
  [
    'DeletionByTaintManager',
    { conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'DeletionByTaintManager' }] },
    'NODE_LOST',
  ],
  [
    'OOMKilled',
    {
      containerStatuses: [
        {
          name: 'job',
          image: '',
          imageID: '',
          ready: false,
          restartCount: 0,
          state: { terminated: { exitCode: 137, reason: 'OOMKilled' } },
        },
      ],
    },
    'OUT_OF_MEMORY',
  ],
])('a pod that ends by %s says so', async (_, status, code) => {
  const folder = await jobFolder();
  await launcher().start(folder, command(folder, 8));
  api.addPod(name, status);
  api.end(name, 'Failed', 'BackoffLimitExceeded');
  expect(await launcher().poll(folder)).toBe('ended');
  expect(await launcher().cause(folder)).toMatchObject({ code });
});

test('all jobs are looked at in one call', async () => {
  const folder = await jobFolder();
  const of = launcher({}, 60_000);
  await of.start(folder, command(folder, 8));
  api.calls.length = 0;
  await Promise.all(Array.from({ length: 50 }, () => of.poll(folder)));
  expect(api.calls).toEqual(['GET /apis/batch/v1/namespaces/fretsaw/jobs']);
});

test(
  'the first process of a container passes SIGTERM on, waits for the last snapshot, and notes the exit code',
  { timeout: 60_000 },
  async () => {
    const folder = await jobFolder();
    const script = `trap 'sleep 0.2; echo snapshot; exit 75' TERM; touch ${folder.path}/up; while :; do sleep 0.1; done`;
    const options = { shape: { nodes: 1, ranksPerNode: 1 }, python: 'python', head: '' };
    const [program = '', ...args] = podCommand(
      folder,
      { ...command(folder, 0), argv: ['bash', '-c', script] },
      options,
    );
    const child = spawn(program, args, { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await expect.poll(() => existsSync(join(folder.path, 'up')), { timeout: 20_000 }).toBe(true);
    child.kill('SIGTERM');
    expect(await ended).toBe(75);
    expect(await folder.readExit()).toBe(75);
    expect(readFileSync(folder.log, 'utf8')).toContain('snapshot');
  },
);
