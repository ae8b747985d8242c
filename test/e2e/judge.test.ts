import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { nanoOnnx } from '../evaluation/golden.ts';
import { resultsOf, resultsStage } from '../report/fixture.ts';
import { root } from '../support/built.ts';
import { CliRig } from '../support/cli-rig.ts';

const cudaLibrary = join(
  ...[root, 'node_modules', 'onnxruntime-node', 'bin', 'napi-v6', 'linux', 'x64'],
  'libonnxruntime_providers_cuda.so',
);

let rig: CliRig;
beforeAll(async () => {
  rig = await CliRig.open();
}, 240_000);
afterAll(async () => {
  await rig.close();
});

test(
  'the report of a broken rule comes all the same; the gate of the same rules stops what hangs on it',
  { timeout: 240_000 },
  async () => {
    for (const name of ['parent', 'control']) rig.write(`${name}.json`, JSON.stringify(resultsOf(name)));
    rig.write(
      'judged.yaml',
      `fretsaw: v1
name: judged
params:
  rules: [{ metric: retention, model: control, baseline: parent, effort: high, at_least: 0.97 }]
stages:
${resultsStage(rig, 'parent')}
${resultsStage(rig, 'control')}
  judgement:
    kind: gate
    inputs: { results: { parent: parent.out, control: control.out } }
    with: { rules: "\${params.rules}", on_fail: report }
  gate:
    kind: gate
    inputs: { results: { parent: parent.out, control: control.out } }
    with: { rules: "\${params.rules}" }
  report:
    kind: report
    inputs: { results: { parent: parent.out, control: control.out }, verdict: judgement.verdict }
    with: { title: Judged, baseline: parent }
  release: { kind: command, inputs: { verdict: gate.verdict }, with: { argv: [cp, "{verdict}/verdict.json", "{out}/x"], outputs: { out: out } } }
`,
    );
    const run = await rig.run(['run', 'judged.yaml', '--json']);
    expect(run.code).toBe(1);
    expect(JSON.parse(run.out)).toMatchObject({ counts: { ran: 4, failed: 1, blocked: 1 } });
    const report = await rig.run(['artifact', 'cat', 'report.report', 'report.md']);
    expect(report.code, report.err).toBe(0);
    expect(report.out).toContain('Failed: 1 of 1 rules do not hold.');
  },
);

test(
  'the points of a measured server are fitted by `costs fit` as they were exported',
  { timeout: 240_000 },
  async () => {
    const serve = [process.execPath, join(root, 'dist', 'fretsaw.js'), 'serve', '{model}'];
    const launch = [...serve, '--port', '{port}', '--name', 'model'];
    rig.write(
      'measured.yaml',
      `fretsaw: v1
name: measured
stages:
  model: { kind: command, with: { argv: [cp, -r, "${nanoOnnx}.", "{out}"], outputs: { out: out }, types: { out: onnx } } }
  speed:
    kind: measure
    inputs: { model: model.out }
    with: { runner: endpoint, input_tokens: 60, output_tokens: 12, concurrency: [1, 4], repeats: 2, rounds: 1, hardware: h100-sxm }
    resources: { endpoint: { launch: ${JSON.stringify(launch)} } }
`,
    );
    const run = await rig.run(['run', 'measured.yaml']);
    expect(run.code, run.out + run.err).toBe(0);
    const exported = await rig.run(['artifact', 'export', 'speed.timings', './speed']);
    expect(exported.code, exported.err).toBe(0);
    const fit = await rig.run(['costs', 'fit', 'speed/points.csv', '--json']);
    expect(fit.code, fit.err).toBe(0);
    const { engine, points } = JSON.parse(fit.out) as { engine: Record<string, number>; points: object[] };
    expect(points).toHaveLength(2);
    expect(Object.keys(engine)).toContain('weight_efficiency');
    const shown = await rig.run(['costs', 'fit', './speed/points.csv']);
    expect(shown.out).toMatch(/tp1 c1 .*\n.*tp1 c4 /);
    expect(shown.out).toMatch(/band: \d+ % on average/);
  },
);

test('a server on a GPU says what is missing where there is none, and knows no other provider', async () => {
  const unknown = await rig.run(['serve', nanoOnnx, '--provider', 'tpu']);
  expect(unknown.code).toBe(2);
  expect(unknown.err).toContain('--provider: expected cpu or cuda, found tpu');
  if (existsSync(cudaLibrary)) return;
  const missing = await rig.run(['serve', nanoOnnx, '--provider', 'cuda', '--port', '0']);
  expect(missing.code).toBe(1);
  expect(missing.err).toMatch(/cannot open model\.onnx on cuda: .*CUDA libraries come with/);
});
