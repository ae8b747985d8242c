import { afterAll, beforeAll, expect, test } from 'vitest';
import { resultsOf, resultsStage } from '../report/fixture.ts';
import { CliRig } from '../support/cli-rig.ts';

let rig: CliRig;
beforeAll(async () => {
  rig = await CliRig.open();
}, 240_000);
afterAll(async () => {
  await rig.close();
});

test(
  'a broken rule stops what comes after, until a person lets it pass by name',
  { timeout: 400_000 },
  async () => {
    for (const name of ['parent', 'control']) rig.write(`${name}.json`, JSON.stringify(resultsOf(name)));
    rig.write(
      'a.yaml',
      `fretsaw: v1
name: judged
stages:
${resultsStage(rig, 'parent')}
${resultsStage(rig, 'control')}
  gate:
    kind: gate
    inputs: { results: { parent: parent.out, control: control.out } }
    with: { rules: [{ metric: retention, model: control, baseline: parent, effort: high, at_least: 0.97 }] }
  after: { kind: command, inputs: { verdict: gate.verdict }, with: { argv: [cp, "{verdict}/verdict.json", "{out}/x"], outputs: { out: out } } }
`,
    );
    const first = await rig.run(['run', 'a.yaml', '--json']);
    expect(first.code).toBe(1);
    const { run, counts } = JSON.parse(first.out) as { run: string; counts: object };
    expect(counts).toMatchObject({ failed: 1, blocked: 1 });
    const why = (await rig.run(['show', 'last'])).out;
    expect(why).toMatch(/GATE_FAILED: 1 of 1 rules do not hold/);
    expect(why).toMatch(/retention of control \/ parent \(high\) at least 0\.97: 0\.\d+, missed by .* noise/);

    expect((await rig.run(['override', 'last', 'gate'])).err).toContain('--reason <text> is required');
    expect((await rig.run(['override', 'last', 'after', '--reason', 'x'])).err).toContain('not a gate');
    const said = ['--reason', 'a demo needs no recall', '--by', 'ada'];
    const overridden = await rig.run(['override', 'last', 'gate', ...said, '--json']);
    expect(overridden.code, overridden.err).toBe(0);
    expect(JSON.parse(overridden.out)).toMatchObject({ counts: { ran: 2, failed: 0, blocked: 0 } });
    expect((await rig.run(['override', 'last', 'gate', ...said])).err).toContain(
      'no broken rule of gate stopped run',
    );

    const lineage = await rig.run(['lineage', 'after.out']);
    expect(lineage.out).toContain('overridden by ada: a demo needs no recall');
    const verdict = (await rig.run(['artifact', 'cat', 'gate.verdict', 'verdict.json'])).out;
    expect(JSON.parse(verdict)).toMatchObject({ passed: false, override: { by: 'ada' } });
    expect((await rig.run(['show', run])).out).toMatch(/override gate by ada at .*: a demo needs no recall/);
    expect((await rig.run(['run', 'a.yaml'])).code).toBe(1);
  },
);
