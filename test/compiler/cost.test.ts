import { describe, expect, it } from 'vitest';
import { costOf, type Cost } from '../../compiler/cost.ts';
import type { PastRecord } from '../../compiler/nearest.ts';
import type { PlannedStage } from '../../compiler/plan.ts';
import { digestFromHex } from '../../core/digest.ts';
import type { StageKey } from '../../core/keys.ts';
import type { ModelSize } from '../../kinds/kind.ts';
import { compileTexts, planOf, sha256, stageOf } from '../support/compile-file.ts';

const digest = digestFromHex(sha256('bytes'));
const stage = stageOf(
  planOf(
    compileTexts({
      'a.yaml': `
fretsaw: v1
name: costs
inputs:
  parent: { checkpoint: ./parent, digest: '${digest}' }
  data: { dataset: ./data, digest: '${digest}' }
stages:
  fp8:
    kind: calibrate-kv
    inputs: {model: parent, data: data}
    with: {tokens: 1000}
`,
    }),
  ),
  'fp8',
);

const models = (parameters: number): ModelSize => ({ parameters, activeParameters: parameters, layers: 8 });

function past(seconds: number, parameters: number | undefined, tokens = 1000): PastRecord {
  return {
    key: digest as StageKey,
    stage: 'fp8',
    finishedAt: '2026-01-01T00:00:00Z',
    document: {
      schema: 'fretsaw/key/v1',
      kind: 'calibrate-kv',
      version: '1',
      with: { ...stage.with, tokens },
      inputs: {},
    },
    seconds: { device: 'cpu', seconds },
    ...(parameters === undefined ? {} : { model: models(parameters) }),
  };
}

function cost(records: readonly PastRecord[], parameters?: number, of: PlannedStage = stage): Cost | null {
  const sizes = parameters === undefined ? undefined : () => ({ model: models(parameters) });
  return costOf(of, { past: records, sizes });
}

describe('a cost out of records', () => {
  it('is theirs when they asked for the same of a model as large', () => {
    const found = cost([past(10, 1e6), past(14, 1.6e6)], 1.5e6);
    expect(found).toEqual({ device: 'cpu', seconds: { low: 10, high: 14 }, source: 'records' });
  });

  it('is scaled, and says so, when the model or the settings were others', () => {
    expect(cost([past(10, 1e6)], 10e6)).toMatchObject({ source: 'scaled' });
    expect(cost([past(10, 1e6)], 10e6)?.seconds.high).toBeCloseTo(100, 6);
    expect(cost([past(10, 1e6, 500)], 1e6)).toMatchObject({ source: 'scaled' });
    expect(cost([past(10, 1e6, 500)], 1e6)?.seconds.high).toBeCloseTo(20, 6);
  });

  it('leaves out what a model of quite another size took, and one whose size nobody knows', () => {
    const formula = cost([], 117e9);
    expect(formula?.source).toBe('estimate');
    expect(cost([past(10, 1.4e6), past(10, undefined)], 117e9)).toEqual(formula);
  });

  it('takes records as they are where the plan does not know its own model', () => {
    expect(cost([past(10, 1.4e6)])).toMatchObject({ source: 'records', seconds: { low: 10, high: 10 } });
  });
});
