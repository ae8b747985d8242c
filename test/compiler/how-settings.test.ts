import { describe, expect, it } from 'vitest';
import { compileTexts, faultsOf, planOf, stageOf } from '../support/compile-file.ts';

const spec = (how: string, top = ''): string =>
  `fretsaw: v1\nname: x\nparams: { hours: 100 }\n${top}stages:\n  s: { kind: command, with: { argv: ["true"], outputs: { out: out } }, ${how} }\n`;

describe('how a stage is run', () => {
  it('says what is done about a failure, and when a silent job is given up', () => {
    const how =
      'retry: { attempts: 5, on: { NAN_LOSS: retry, OUT_OF_MEMORY: smaller_batch }, stalled: { times: 9 } }';
    expect(stageOf(planOf(compileTexts({ 'a.yaml': spec(how) })), 's').retry).toEqual({
      attempts: 5,
      on: { NAN_LOSS: 'retry', OUT_OF_MEMORY: 'smaller_batch' },
      stalled: { times: 9, seconds: 600 },
    });
  });

  it('refuses an answer that mends nothing, and a code that there is not', () => {
    const faults = faultsOf(
      compileTexts({ 'a.yaml': spec('retry: { on: { NAN_LOSS: smaller_batch, NAN_LOS: stop } }') }),
    );
    expect(faults.map(({ code }) => code).sort()).toEqual(['BAD_VALUE', 'UNKNOWN_SETTING']);
    expect(faults.map(({ hint }) => hint ?? '').join()).toContain('NAN_LOSS');
  });

  it('asks a person, in words of the spec or of its own', () => {
    const asked = (approve: string) =>
      stageOf(planOf(compileTexts({ 'a.yaml': spec(`approve: ${approve}`) })), 's').approve;
    expect([asked('"is it wise?"'), asked('true'), asked('false')]).toEqual([
      'is it wise?',
      'start s?',
      undefined,
    ]);
  });

  it('has a budget for the whole run, which a param may give', () => {
    const plan = planOf(compileTexts({ 'a.yaml': spec('', 'budget: { gpu_hours: "${params.hours}" }\n') }));
    expect(plan.budget).toEqual({ gpu_hours: 100 });
    const faults = faultsOf(compileTexts({ 'a.yaml': spec('', 'budget: { gpu_hour: 1 }\n') }));
    expect(faults).toMatchObject([{ code: 'UNKNOWN_SETTING' }]);
  });
});
