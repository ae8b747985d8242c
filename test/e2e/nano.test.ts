import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { root } from '../support/built.ts';
import { credentialsOf, makeBucket } from '../contract/s3-rig.ts';
import { CliRig } from '../support/cli-rig.ts';
import { filesWith } from '../support/files-with.ts';
import { radosgwIsMissing } from '../support/radosgw.ts';

const spec = join(root, 'test', 'fixtures', 'specs', 'nano', 'nano.yaml');
const nano = ['run', spec, '--profile', 'rehearsal'];

let rig: CliRig;
/** By the first test, on disk. */
let onDisk: Answer;
beforeAll(async () => {
  rig = await CliRig.open();
}, 120_000);
afterAll(async () => {
  await rig.close();
});

interface Answer {
  run: string | null;
  state: string;
  counts: Record<string, number>;
  stages: Record<string, { kind: string; outputs?: Record<string, { digest: string }> }>;
}

const answer = (out: string): Answer => JSON.parse(out) as Answer;
const ran = ({ stages }: Answer): string[] =>
  Object.entries(stages).flatMap(([name, { kind }]) => (kind === 'ran' ? [name] : []));

async function cat(artifact: string, path: string): Promise<unknown> {
  return JSON.parse((await rig.run(['artifact', 'cat', artifact, path])).out);
}

/** Each test goes on from the store that the one before left. */
test('the whole graph of the paper runs, from scoring to the report', { timeout: 900_000 }, async () => {
  const first = await rig.run([...nano, '--json']);
  onDisk = answer(first.out);
  const { state, counts, stages } = onDisk;
  expect(state).toBe('done');
  expect(counts).toMatchObject({ failed: 0, blocked: 0, cached: 0 });

  interface Layer {
    experts: number;
    window: number | null;
  }
  const { layers } = (await cat('select.architecture', 'architecture.json')) as { layers: Layer[] };
  const parent = (await cat('parent', 'config.json')) as {
    num_local_experts: number;
    layer_types: string[];
  };
  const kept = layers.reduce((sum, { experts }) => sum + experts, 0);
  expect(kept / (parent.num_local_experts * layers.length)).toBeLessThanOrEqual(0.75);
  const full = (window: number | null): boolean => window === null;
  expect(layers.filter(({ window }) => full(window))).toHaveLength(
    parent.layer_types.filter((type) => type === 'full_attention').length / 2,
  );

  const report = (await cat('report', 'report.json')) as {
    models: { name: string; timing: { runner: string; measuredOn: string } }[];
  };
  expect(report.models.map(({ name }) => name)).toEqual([
    ...['parent', 'parent_fp8', 'control', 'child', 'distilled'],
    ...['rl_high', 'rl_mixed', 'average', 'fp8', 'fp8_unscaled'],
  ]);
  // Every model counts with the speed of its architecture, measured in a closed loop.
  for (const { timing } of report.models)
    expect(timing).toMatchObject({
      runner: 'measure (closed loop), 96 in, 16 out',
      measuredOn: expect.stringMatching(/^(parent|average)$/) as string,
    });
  expect(Object.keys(stages)).toContain('gate');
});

test(
  "the child's experts are the parent's, as a person proves it from files",
  { timeout: 120_000 },
  async () => {
    const proof = await rig.run(['verify', 'experts', 'child.checkpoint', '--parent', 'parent']);
    expect(proof).toMatchObject({ code: 0 });
    expect(proof.out).toMatch(/^\d+ experts and router rows in \d+ layers are the parent's, byte for byte$/m);
    const other = await rig.run(['verify', 'experts', 'control.checkpoint', '--parent', 'child.checkpoint']);
    expect(other.code).not.toBe(0);
  },
);

test('the same command again runs nothing, and ends with the table', { timeout: 120_000 }, async () => {
  const { code, out } = await rig.run(nano);
  expect(code).toBe(0);
  expect(out).toMatch(/nano: done \(\d+ cached\)/);
  expect(out).toMatch(/^model +low +medium +high/m);
  expect(out).toMatch(/^distilled +\d/m);
  expect(out).toMatch(/^report: .*report\.html$/m);
});

test(
  'a parameter of select that leaves the selection as it was runs select, and the report of its proof',
  { timeout: 120_000 },
  async () => {
    const { out } = await rig.run([...nano, '--param', 'random_samples=30', '--json']);
    expect(answer(out).state).toBe('done');
    expect(ran(answer(out))).toEqual(['select', 'report']);
  },
);

test('every byte of the result is explained up to the committed parent', { timeout: 120_000 }, async () => {
  const { code, out } = await rig.run(['lineage', 'fp8.checkpoint', '--json']);
  expect(code).toBe(0);
  const { origins } = JSON.parse(out) as { origins: { kind: string; stageKind?: string }[] };
  expect(origins.filter(({ kind }) => kind === 'unknown')).toEqual([]);
  expect(origins.map(({ stageKind }) => stageKind)).toContain('pretrain');
});

/** Outputs that hold how long something took, and of the gate and the report, which read that. */
const timed = ['timings', 'verdict', 'report'];

function digestsOf({ stages }: Answer): Record<string, string> {
  const outputs = Object.entries(stages).flatMap(([stage, one]) =>
    Object.entries(one.outputs ?? {}).map(([name, { digest }]) => ({ stage, name, digest })),
  );
  const lasting = outputs.filter(({ name }) => !timed.includes(name));
  return Object.fromEntries(lasting.map(({ stage, name, digest }) => [`${stage}.${name}`, digest]));
}

test.skipIf(radosgwIsMissing() !== undefined)(
  'on a real S3 the same graph gives the same bytes, and for a host that has nothing all of it is there',
  { timeout: 900_000 },
  async () => {
    const { name, server } = await makeBucket();
    const { accessKeyId, secretAccessKey } = credentialsOf(server);
    const env = {
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_REGION: 'us-east-1',
      AWS_ENDPOINT_URL_S3: server.endpoint,
    };
    const inS3 = [...nano, '--json', '--store', `s3://${name}/nano`];
    const there = answer((await rig.run(inS3, env)).out);
    expect(there).toMatchObject({ state: 'done', counts: { cached: 0, failed: 0 } });
    expect(digestsOf(there)).toEqual(digestsOf(onDisk));
    // A whole run, its report with it, keeps nothing of what it reached the bucket with.
    expect(filesWith(rig.home, secretAccessKey)).toEqual([]);
    rmSync(rig.home, { recursive: true, force: true });
    const again = answer((await rig.run(inS3, env)).out);
    expect(ran(again)).toEqual([]);
    expect(digestsOf(again)).toEqual(digestsOf(onDisk));
  },
);
