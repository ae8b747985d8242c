import { bindKey } from '../../compiler/bind.ts';
import { describe, expect, it } from 'vitest';
import type { Plan } from '../../compiler/plan.ts';
import { compileFixture, compileTexts, faultsOf, planOf, stageOf } from '../support/compile-file.ts';

const names = ({ stages }: Plan): string[] => stages.map(({ name }) => name);
const puzzle = planOf(compileFixture('valid/puzzle.yaml'));
const rehearsal = planOf(compileFixture('valid/puzzle.yaml', { profile: 'rehearsal' }));
const seeds = planOf(compileFixture('valid/seeds.yaml'));

/** A spec of commands: each entry is a stage's name and what it reads. */
function chain(stages: Record<string, string[]>, extra = ''): string {
  const lines = Object.entries(stages).map(([name, reads]) => {
    const inputs = reads.map((source, i) => `i${i}: ${JSON.stringify(source)}`).join(', ');
    return `  ${name}: { kind: command, inputs: { ${inputs} }, with: { argv: ["true", ${name}], outputs: { out: out } } }`;
  });
  return `fretsaw: v1\nname: chain\n${extra}stages:\n${lines.join('\n')}\n`;
}

describe('a plan', () => {
  it('has its stages in topological order, and what is unrelated as it was written', () => {
    const plan = planOf(
      compileTexts({ 'a.yaml': chain({ d: ['c.out', 'b.out'], a: [], b: ['a.out'], c: ['a.out'] }) }),
    );
    expect(names(plan)).toEqual(['a', 'c', 'b', 'd']);
  });

  it('has edges from inputs alone', () => {
    expect(stageOf(puzzle, 'distill').after).toEqual([
      'parent',
      'child',
      'answers[effort=high]',
      'answers[effort=medium]',
    ]);
  });

  it('fills every default in', () => {
    expect(stageOf(puzzle, 'experts').with).toEqual({ metric: 'reap', min_tokens_per_expert: 32, seed: 1 });
    expect(stageOf(puzzle, 'onnx').resources).toEqual({ cpus: 1, gpus: 0 });
    expect(stageOf(puzzle, 'onnx').retry).toEqual({ attempts: 3, stalled: { seconds: 600, times: 20 } });
  });

  it('keeps the type of a param that stands alone, and makes text of one inside text', () => {
    expect(stageOf(puzzle, 'distill').with['tokens']).toBe(84e9);
    expect(stageOf(puzzle, 'evaluate[level=low]').with['max_new_tokens']).toEqual({
      low: 32,
      medium: 64,
      high: 96,
    });
    expect(stageOf(puzzle, 'report').with['title']).toBe('puzzle at seed 1, in ${literal} braces');
  });

  it('says how a stage runs beside what it asks for', () => {
    expect(stageOf(puzzle, 'distill')).toMatchObject({
      pool: 'h100x64',
      resources: { gpus: 64, cpus: 1, micro_batch: 1, memory_gib: 512 },
      retry: { attempts: 20, stalled: { times: 20, seconds: 600 } },
      budget: { hours: 48, gpu_hours: 3000 },
    });
  });

  it('names secrets and never holds them', () => {
    expect(stageOf(puzzle, 'parent')).toMatchObject({
      secrets: ['HF_TOKEN'],
      with: { token: { secret: 'HF_TOKEN' } },
    });
  });

  it('has local paths relative to the file that says them', () => {
    expect(stageOf(puzzle, 'rows').with['location']).toBe('data/rows');
    expect(stageOf(rehearsal, 'parent').with['location']).toBe('valid/parent');
    const absolute = planOf(compileFixture('valid/puzzle.yaml', { absolute: (path) => `/repo/${path}` }));
    expect(stageOf(absolute, 'rows').with['location']).toBe('/repo/data/rows');
    expect(stageOf(absolute, 'parent').with['location']).toBe('hf://openai/gpt-oss-120b');
  });

  it('has the record of an import as a path too, and never in its key', () => {
    const spec = (record: string): string =>
      chain({ a: ['p'] }, `inputs:\n  p: { checkpoint: ./p, digest: "sha256:${'0'.repeat(64)}"${record} }\n`);
    const bare = stageOf(planOf(compileTexts({ 'specs/a.yaml': spec('') })), 'p');
    const recorded = stageOf(planOf(compileTexts({ 'specs/a.yaml': spec(', record: ./p.json') })), 'p');
    expect(recorded.with['record']).toBe('specs/p.json');
    const keyOf = (stage: typeof bare): unknown =>
      bindKey(
        stage,
        () => {
          throw new Error('bug: an import reads nothing');
        },
        { import: '1' },
      );
    expect(keyOf(recorded)).toEqual(keyOf(bare));
  });

  it('leaves out imports that nothing reads', () => {
    const spec = chain({ a: ['used'] }, 'inputs:\n  used: { folder: ./u }\n  unused: { folder: ./v }\n');
    expect(names(planOf(compileTexts({ 'a.yaml': spec })))).toEqual(['used', 'a']);
  });

  it('has another digest for another text, profile or param, and the same for the same', () => {
    const digest = (choice = {}): string => planOf(compileFixture('valid/puzzle.yaml', choice)).spec.digest;
    const all = [digest(), digest({ profile: 'rehearsal' }), digest({ params: { seed: '2' } })];
    expect(new Set(all).size).toBe(3);
    expect(digest()).toBe(puzzle.spec.digest);
  });
});

describe('a profile', () => {
  it('merges maps, replaces scalars and deletes by null', () => {
    const distill = stageOf(rehearsal, 'distill');
    expect(distill.with).toMatchObject({ tokens: 5e5, sequence_length: 256 });
    expect(distill.resources).toEqual({ cpus: 1, gpus: 0, memory_gib: 512 });
    expect(distill.budget).toBeUndefined();
  });

  it('speaks for all stages with "*"', () => {
    const pools = rehearsal.stages.filter(({ kind }) => kind !== 'import').map(({ pool }) => pool);
    expect(new Set(pools)).toEqual(new Set(['local']));
  });

  it('that moves an input drops the pins of where it was', () => {
    expect(stageOf(rehearsal, 'parent').with).toEqual({ type: 'checkpoint', location: 'valid/parent' });
  });

  it('gives a param a value that --param still overrides', () => {
    const plan = planOf(
      compileFixture('valid/puzzle.yaml', { profile: 'rehearsal', params: { kd_tokens: '7e3' } }),
    );
    expect(stageOf(plan, 'distill').with['tokens']).toBe(7000);
  });
});

describe('a spec that extends another', () => {
  const base = chain(
    { a: [] },
    'params: { n: 1 }\nprofiles: { fast: { stages: { a: { pool: quick } }, params: { n: 2 } } }\n',
  );
  const derived =
    'fretsaw: v1\nname: derived\nextends: ./base.yaml\nprofiles: { fast: { params: { n: 3 } } }\n';

  it('has the stages of its base and its profiles, laid over each other', () => {
    const plan = planOf(compileTexts({ 'derived.yaml': derived, 'base.yaml': base }, { profile: 'fast' }));
    expect(stageOf(plan, 'a').pool).toBe('quick');
    expect(plan.spec.name).toBe('derived');
  });

  it('can delete a stage, and then nothing may read it', () => {
    const spec = 'fretsaw: v1\nname: derived\nextends: ./base.yaml\nstages: { a: null }\n';
    const two = chain({ a: [], b: ['a.out'] });
    const [fault] = faultsOf(compileTexts({ 'derived.yaml': spec, 'base.yaml': two }));
    expect(fault).toMatchObject({ code: 'UNKNOWN_STAGE', range: { path: 'base.yaml', line: 5 } });
  });
});

describe('a matrix', () => {
  it('of a stage makes a leg for each value; a setting of that name is set', () => {
    expect(stageOf(puzzle, 'answers[effort=high]').with['effort']).toBe('high');
    expect(stageOf(puzzle, 'answers[effort=medium]').pool).toBe('gpu-medium');
  });

  it('starred is a list in matrix order', () => {
    expect(stageOf(puzzle, 'distill').inputs['data']).toEqual([
      { stage: 'answers[effort=high]', output: 'data' },
      { stage: 'answers[effort=medium]', output: 'data' },
    ]);
  });

  it('starred into an input that takes a map has names by leg', () => {
    expect(stageOf(puzzle, 'report').inputs['results']).toEqual({
      'evaluate[level=low]': { stage: 'evaluate[level=low]', output: 'results' },
      'evaluate[level=high]': { stage: 'evaluate[level=high]', output: 'results' },
    });
  });

  it('makes a plain reference mean the leg with the same values', () => {
    const spec = `fretsaw: v1
name: legs
stages:
  a: { kind: command, matrix: { size: [1, 2] }, with: { argv: [make, "\${matrix.size}!"], outputs: { out: out } } }
  b: { kind: command, matrix: { size: [2, 1] }, inputs: { a: a.out }, with: { argv: [use, "\${matrix.size}!"], outputs: { out: out } } }
`;
    const plan = planOf(compileTexts({ 'a.yaml': spec }));
    expect(stageOf(plan, 'b[size=2]').inputs['a']).toEqual({ stage: 'a[size=2]', output: 'out' });
    expect(stageOf(plan, 'b[size=1]').inputs['a']).toEqual({ stage: 'a[size=1]', output: 'out' });
  });

  it('of the spec gives legs to the stages that depend on its param, and to no others', () => {
    expect(names(seeds)).toEqual(
      expect.arrayContaining([
        'parent',
        'rows',
        'calibration[seed=3]',
        'experts[seed=1]',
        'answers[effort=high,seed=2]',
      ]),
    );
    expect(names(seeds).filter((name) => /^(parent|rows|table)/.test(name))).toEqual([
      'parent',
      'rows',
      'table',
    ]);
    expect(stageOf(seeds, 'calibration[seed=3]').with['seed']).toBe(3);
  });

  it('of the spec leaves [*] of a stage what it was: each leg sees its own seed', () => {
    expect(stageOf(seeds, 'distill[seed=2]').inputs['data']).toEqual([
      { stage: 'answers[effort=high,seed=2]', output: 'data' },
      { stage: 'answers[effort=medium,seed=2]', output: 'data' },
    ]);
  });

  it('of the spec can be gathered by name', () => {
    expect(stageOf(seeds, 'table').inputs['results']).toEqual({
      'all[seed=1]': { stage: 'evaluate[level=high,seed=1]', output: 'results' },
      'all[seed=2]': { stage: 'evaluate[level=high,seed=2]', output: 'results' },
      'all[seed=3]': { stage: 'evaluate[level=high,seed=3]', output: 'results' },
      first: { stage: 'evaluate[level=high,seed=1]', output: 'results' },
    });
  });
});

describe('an input', () => {
  const spec = (data: string): string => `fretsaw: v1
name: inputs
inputs: { parent: { checkpoint: ./p }, rows: { dataset: ./r } }
stages:
  d: { kind: distill, inputs: { teacher: parent, student: parent, data: ${data} }, with: { tokens: 5 } }
  p: { kind: prepare, inputs: { tokenizer: parent, source: rows, exclude: [] }, with: { split: train, examples: 1 } }
`;

  it('that takes a list may be written without one', () => {
    const [bare, listed] = ['rows', '[rows]'].map((data) =>
      stageOf(planOf(compileTexts({ 'a.yaml': spec(data) })), 'd'),
    );
    expect(bare?.inputs).toEqual(listed?.inputs);
    expect(bare?.inputs['data']).toEqual([{ stage: 'rows', output: 'self' }]);
  });

  it('that is an empty list is as if it were not there', () => {
    expect(Object.keys(stageOf(planOf(compileTexts({ 'a.yaml': spec('rows') })), 'p').inputs)).toEqual([
      'tokenizer',
      'source',
    ]);
  });
});

describe('compiling', () => {
  it('takes less than a second for 2,000 stages', () => {
    const stages = Object.fromEntries(
      Array.from({ length: 2000 }, (_, i) => [`s${i}`, i < 2 ? [] : [`s${i - 1}.out`, `s${i - 2}.out`]]),
    );
    const text = chain(stages);
    planOf(compileTexts({ 'warm.yaml': chain({ a: [] }) }));
    const cpu = process.cpuUsage();
    const plan = planOf(compileTexts({ 'big.yaml': text }));
    const { user, system } = process.cpuUsage(cpu);
    expect(plan.stages).toHaveLength(2000);
    // 0.6-0.9 s alone on the reference machine, nearly all of it the YAML parser; the rest is for a busy one.
    expect((user + system) / 1e6).toBeLessThan(3);
  });
});
