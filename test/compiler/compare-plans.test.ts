import { describe, expect, it } from 'vitest';
import { comparePlans, type StageChange } from '../../compiler/compare-plans.ts';
import { jsonDifference } from '../../lineage/json-difference.ts';
import { compileTexts, planOf } from '../support/compile-file.ts';

function compared(before: string, after: string): StageChange[] {
  const [older, newer] = [before, after].map((stages) =>
    planOf(compileTexts({ 'a.yaml': `fretsaw: v1\nname: a\nstages:\n${stages}` })),
  );
  if (older === undefined || newer === undefined) throw new Error('bug');
  return comparePlans(older, newer, jsonDifference);
}

const stage = (name: string, rest: string): string =>
  `  ${name}: { kind: command, with: { argv: [${name}], outputs: { out: out } }, ${rest} }\n`;

describe('comparing two plans', () => {
  const before = stage('a', 'inputs: {}') + stage('b', 'inputs: { x: a.out }') + stage('c', 'inputs: {}');

  it('says nothing of what is as it was', () => {
    expect(new Set(compared(before, before).map(({ kind }) => kind))).toEqual(new Set(['unchanged']));
  });

  it('tells added, removed, changed and downstream apart', () => {
    const after =
      stage('a', 'inputs: {}').replace('[a]', '[a, more]') +
      stage('b', 'inputs: { x: a.out }') +
      stage('d', 'inputs: {}');
    expect(compared(before, after)).toEqual([
      { kind: 'changed', stage: 'a', asks: [{ field: 'with.argv[1]', b: 'more' }], runs: [] },
      { kind: 'downstream', stage: 'b', of: ['a'] },
      { kind: 'added', stage: 'd' },
      { kind: 'removed', stage: 'c' },
    ]);
  });

  it('tells what is asked for from how it is run, which touches nothing downstream', () => {
    const [a, b] = compared(
      before,
      before.replace('inputs: {}', 'inputs: {}, pool: big, resources: { cpus: 4 }'),
    );
    expect(a).toEqual({
      kind: 'changed',
      stage: 'a',
      asks: [],
      runs: [
        { field: 'pool', a: 'default', b: 'big' },
        { field: 'resources.cpus', a: 1, b: 4 },
      ],
    });
    expect(b).toEqual({ kind: 'unchanged', stage: 'b' });
  });

  it('shows an input as a spec writes it', () => {
    const changes = compared(before, before.replace('x: a.out', 'x: c.out'));
    expect(changes.find((change) => change.stage === 'b')).toMatchObject({
      asks: [{ field: 'inputs.x', a: 'a.out', b: 'c.out' }],
    });
  });
});
