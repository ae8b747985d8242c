import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bindKey, isUnpinned, pinImport } from '../../compiler/bind.ts';
import type { Plan, PlannedStage } from '../../compiler/plan.ts';
import { digestFromHex, parseDigest, type Digest } from '../../core/digest.ts';
import { stageKey, type StageKey } from '../../core/keys.ts';
import { kinds } from '../../kinds/registry.ts';
import { compileFixture, compileTexts, planOf, sha256, stageOf } from '../support/compile-file.ts';

const versions = Object.fromEntries([...kinds.values()].map(({ name, version }) => [name, String(version)]));
const digestOf = (text: string): Digest => digestFromHex(sha256(text));

/** Keys of all stages when every stage's outputs are what its key says: a world of pure functions. */
function keysOf(plan: Plan): Map<string, StageKey> {
  const keys = new Map<string, StageKey>();
  for (const stage of plan.stages) {
    const pinned = isUnpinned(stage)
      ? pinImport(stage, digestOf(JSON.stringify(stage.with['location'])))
      : stage;
    const key = stageKey(
      bindKey(pinned, ({ stage: from, output }) => digestOf(`${keys.get(from) ?? ''} ${output}`), versions),
      sha256,
    );
    keys.set(stage.name, key);
  }
  return keys;
}

function changedBetween(before: Plan, after: Plan): string[] {
  const [a, b] = [keysOf(before), keysOf(after)];
  return [...a].filter(([name, key]) => b.get(name) !== key).map(([name]) => name);
}

function downstreamOf(plan: Plan, roots: readonly string[]): string[] {
  const found = new Set(roots);
  for (const { name, after } of plan.stages) if (after.some((other) => found.has(other))) found.add(name);
  return [...found];
}

/** A layered graph of commands as YAML; `word` is an argument of each stage. */
const graphs = fc
  .array(fc.record({ reads: fc.array(fc.nat(), { maxLength: 3 }), word: fc.integer({ min: 0, max: 9 }) }), {
    minLength: 1,
    maxLength: 12,
  })
  .map((stages) =>
    stages.map(({ reads, word }, i) => ({
      word,
      reads: i === 0 ? [] : [...new Set(reads.map((read) => read % i))],
    })),
  );
type Graph = typeof graphs extends fc.Arbitrary<infer T> ? T : never;

interface Writing {
  /** Shuffles what YAML maps hold. */
  order?: <T>(items: T[]) => T[];
  how?: (stage: number) => string;
  defaults?: boolean;
}

function write(
  graph: Graph,
  { order = (items) => items, how = () => '', defaults = false }: Writing = {},
): string {
  const stages = graph.map(({ reads, word }, i) => {
    const inputs = order(reads.map((read) => `i${read}: s${read}.out`)).join(', ');
    const settings = [
      `argv: [echo, "${word}", stage${i}]`,
      'outputs: { out: out }',
      ...(defaults ? ['env: {}', 'types: {}'] : []),
    ];
    const parts = [
      'kind: command',
      `inputs: { ${inputs} }`,
      `with: { ${order(settings).join(', ')} }`,
      ...[how(i)].filter(Boolean),
    ];
    return `  s${i}: { ${order(parts).join(', ')} }`;
  });
  return `fretsaw: v1\nname: graph\nstages:\n${order(stages).join('\n')}\n`;
}

const compiled = (text: string): Plan => planOf(compileTexts({ 'graph.yaml': text }));

describe('a stage key', () => {
  it('does not depend on the order in which maps are written', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        expect(
          changedBetween(
            compiled(write(graph)),
            compiled(write(graph, { order: (items) => [...items].reverse() })),
          ),
        ).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  it('does not depend on pool, resources, retry or budget', () => {
    const how = fc.tuple(
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 0, max: 64 }),
      fc.integer({ min: 1, max: 9 }),
    );
    fc.assert(
      fc.property(graphs, how, (graph, [cpus, gpus, attempts]) => {
        const run = (i: number): string =>
          `pool: p${i % 3}, resources: { cpus: ${cpus}, gpus: ${gpus} }, retry: { attempts: ${attempts} }, budget: { hours: ${cpus} }`;
        expect(changedBetween(compiled(write(graph)), compiled(write(graph, { how: run })))).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  it('does not depend on whether a default is written out', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        expect(changedBetween(compiled(write(graph)), compiled(write(graph, { defaults: true })))).toEqual(
          [],
        );
      }),
      { numRuns: 40 },
    );
  });

  it('changes with a parameter of the stage, and then only the keys downstream change with it', () => {
    fc.assert(
      fc.property(graphs, fc.nat(), (graph, pick) => {
        const at = pick % graph.length;
        const other = graph.map((stage, i) => (i === at ? { ...stage, word: stage.word + 10 } : stage));
        const before = compiled(write(graph));
        expect(changedBetween(before, compiled(write(other))).sort()).toEqual(
          downstreamOf(before, [`s${at}`]).sort(),
        );
      }),
      { numRuns: 40 },
    );
  });

  it('does not depend on the name of the stage', () => {
    const named = (name: string): string => write([{ reads: [], word: 1 }]).replace('s0:', `${name}:`);
    const [a, b] = ['first', 'second'].map((name) => [...keysOf(compiled(named(name))).values()]);
    expect(a).toEqual(b);
  });
});

describe('an import', () => {
  const stage = (entry: string): PlannedStage =>
    stageOf(
      compiled(
        `fretsaw: v1\nname: i\ninputs: { a: ${entry} }\nstages: { s: { kind: command, inputs: { a: a }, with: { argv: [x], outputs: { out: out } } } }\n`,
      ),
      'a',
    );
  const digest = `sha256:${'7'.repeat(64)}`;
  const none = (): Digest => {
    throw new Error('an import reads nothing');
  };

  it('with a digest is the same import wherever it comes from', () => {
    const key = (entry: string): StageKey => stageKey(bindKey(stage(entry), none, versions), sha256);
    const here = key(`{ checkpoint: ./a, digest: "${digest}" }`);
    expect(key(`{ checkpoint: s3://bucket/a, digest: "${digest}", token: { secret: S3 } }`)).toBe(here);
    expect(key(`{ dataset: ./a, digest: "${digest}" }`)).not.toBe(here);
  });

  it('without a digest has no key until its bytes were hashed', () => {
    const unpinned = stage('{ checkpoint: ./a }');
    expect(isUnpinned(unpinned)).toBe(true);
    expect(() => bindKey(unpinned, none, versions)).toThrow('has no digest yet');
    expect(bindKey(pinImport(unpinned, parseDigest(digest)), none, versions).with).toEqual({
      type: 'checkpoint',
      digest,
    });
  });
});

describe('inputs in a key document', () => {
  it('keep their form: one, a list in order, a map by name', () => {
    const plan = planOf(compileFixture('valid/puzzle.yaml'));
    const document = bindKey(
      stageOf(plan, 'distill'),
      ({ stage, output }) => digestOf(`${stage} ${output}`),
      versions,
    );
    expect(document.inputs['teacher']).toBe(digestOf('parent self'));
    expect(document.inputs['data']).toEqual([
      digestOf('answers[effort=high] data'),
      digestOf('answers[effort=medium] data'),
    ]);
    const report = bindKey(stageOf(plan, 'report'), ({ stage }) => digestOf(stage), versions);
    expect(Object.keys(report.inputs['results'] ?? {})).toEqual([
      'evaluate[level=low]',
      'evaluate[level=high]',
    ]);
  });
});
