import { describe, expect, it } from 'vitest';
import { bindKey } from '../../compiler/bind.ts';
import type { PastRecord } from '../../compiler/nearest.ts';
import type { Plan, PlannedStage } from '../../compiler/plan.ts';
import { resolve, type Found, type Resolution, type ResolvedStage } from '../../compiler/resolve.ts';
import type { ArtifactRef } from '../../core/artifact.ts';
import { digestFromHex, type Digest } from '../../core/digest.ts';
import { stageKey, type KeyDocument, type StageKey } from '../../core/keys.ts';
import { kinds } from '../../kinds/registry.ts';
import { jsonDifference } from '../../lineage/json-difference.ts';
import { compileFixture, compileTexts, planOf, sha256 } from '../support/compile-file.ts';

const versions = Object.fromEntries([...kinds.values()].map(({ name, version }) => [name, String(version)]));
const digestOf = (text: string): Digest => digestFromHex(sha256(text));

/** A store in memory, with records made as a run would make them. */
class World {
  readonly records = new Map<StageKey, Found & { past: PastRecord }>();
  readonly observed = new Map<string, Digest>();
  questions = { find: 0, past: 0, observe: 0 };

  /** Runs a plan; what a stage makes depends on its settings by `making` (its key by default). */
  run(plan: Plan, making: (stage: PlannedStage, key: StageKey) => string = (_, key) => key): void {
    const outputs = new Map<string, Record<string, ArtifactRef>>();
    for (const stage of plan.stages) {
      const document = bindKey(
        stage,
        ({ stage: from, output }) => outputs.get(from)?.[output]?.digest ?? digestOf('?'),
        versions,
      );
      const key = stageKey(document, sha256);
      const known = this.records.get(key);
      if (known === undefined) this.#record(stage, { key, document, made: making(stage, key) });
      outputs.set(stage.name, { ...this.records.get(key)?.outputs });
    }
  }

  #record(
    stage: PlannedStage,
    { key, document, made }: { key: StageKey; document: KeyDocument; made: string },
  ): void {
    const outputs = Object.fromEntries(
      Object.entries(stage.outputs).map(([name, type]) => {
        const digest =
          stage.kind === 'import' ? (stage.with['digest'] as Digest) : digestOf(`${made} ${name}`);
        return [name, { digest, type, sizeBytes: 1 }];
      }),
    );
    const finishedAt = `2026-01-01T00:00:${String(this.records.size).padStart(2, '0')}Z`;
    const past = {
      key,
      document,
      stage: stage.name,
      finishedAt,
      seconds: { device: 'cpu' as const, seconds: 10 },
    };
    this.records.set(key, { outputs, missing: [], past });
  }

  resolve(plan: Plan): Promise<Resolution> {
    return resolve(plan, {
      versions,
      sha256,
      compare: jsonDifference,
      lookups: {
        find: async (keys) => {
          this.questions.find++;
          return new Map([...this.records].filter(([key]) => keys.includes(key)));
        },
        past: async (names) => {
          this.questions.past++;
          return [...this.records.values()]
            .map(({ past }) => past)
            .filter(({ document }) => names.includes(document.kind))
            .reverse();
        },
        observe: async () => {
          this.questions.observe++;
          return this.observed;
        },
      },
    });
  }
}

/** a -> b -> c, and d beside them; each argument changes one stage. */
function spec({ a = 'x', b = 'x', d = 'x' } = {}): Plan {
  const stage = (name: string, word: string, reads: string): string =>
    `  ${name}: { kind: command, inputs: { ${reads} }, with: { argv: [make, ${name}, ${word}], outputs: { out: out } } }`;
  const stages = [
    stage('a', a, ''),
    stage('b', b, 'in: a.out'),
    stage('c', 'x', 'in: b.out'),
    stage('d', d, ''),
  ];
  return planOf(compileTexts({ 'abc.yaml': `fretsaw: v1\nname: abc\nstages:\n${stages.join('\n')}\n` }));
}

const states = ({ stages }: Resolution): Record<string, string> =>
  Object.fromEntries(stages.map(({ name, state }) => [name, state]));
function stageIn(resolution: Resolution, name: string): ResolvedStage {
  const found = resolution.stages.find((stage) => stage.name === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

describe('resolving a plan', () => {
  it('of a spec that never ran says that everything runs, and why', async () => {
    const resolution = await new World().resolve(spec());
    expect(states(resolution)).toEqual({ a: 'run', b: 'run', c: 'run', d: 'run' });
    expect(stageIn(resolution, 'c')).toMatchObject({ why: { kind: 'new' }, key: null });
    expect(resolution.totals).toMatchObject({ hit: 0, run: 4, maybe: 0, unknownCosts: 4 });
  });

  it('of one that ran finds everything, and asks for no history', async () => {
    const world = new World();
    world.run(spec());
    const resolution = await world.resolve(spec());
    expect(new Set(Object.values(states(resolution)))).toEqual(new Set(['hit']));
    expect(world.questions).toEqual({ find: 3, past: 0, observe: 0 });
  });

  it('names the field that changed, with what it was', async () => {
    const world = new World();
    world.run(spec());
    const d = stageIn(await world.resolve(spec({ d: 'y' })), 'd');
    expect(d).toMatchObject({
      state: 'run',
      why: {
        kind: 'changed',
        nearest: { stage: 'd', differences: [{ field: 'with.argv[2]', a: 'x', b: 'y' }] },
      },
    });
  });

  it('says maybe of what is only saved by early cut-off, and unless what', async () => {
    const world = new World();
    world.run(spec());
    const resolution = await world.resolve(spec({ a: 'y' }));
    expect(states(resolution)).toEqual({ a: 'run', b: 'maybe', c: 'maybe', d: 'hit' });
    expect(stageIn(resolution, 'b')).toMatchObject({
      why: { kind: 'depends', unless: [{ source: { stage: 'a', output: 'out' } }] },
    });
  });

  it('names what a stage itself read before, not what a twin of it read', async () => {
    const twins = (word: string): Plan => {
      const stage = (name: string, argv: string, reads: string): string =>
        `  ${name}: { kind: command, inputs: { ${reads} }, with: { argv: [${argv}], outputs: { out: out } } }`;
      const stages = [
        stage('root', `echo, ${word}`, ''),
        ...['one', 'two', 'three'].flatMap((name) => [
          stage(name, `make, ${name}`, 'in: root.out'),
          stage(`export_${name}`, 'export', `in: ${name}.out`),
        ]),
      ];
      return planOf(
        compileTexts({ 'twins.yaml': `fretsaw: v1\nname: twins\nstages:\n${stages.join('\n')}\n` }),
      );
    };
    const world = new World();
    world.run(twins('x'));
    const before = new Map([...world.records.values()].map(({ past, outputs }) => [past.stage, outputs]));
    const resolution = await world.resolve(twins('y'));
    for (const name of ['one', 'two', 'three']) {
      expect(stageIn(resolution, `export_${name}`)).toMatchObject({
        state: 'maybe',
        why: { unless: [{ source: { stage: name }, digest: before.get(name)?.['out']?.digest }] },
      });
    }
  });

  it('says run, not maybe, of a stage downstream that was changed itself', async () => {
    const world = new World();
    world.run(spec());
    expect(states(await world.resolve(spec({ a: 'y', b: 'y' })))).toEqual({
      a: 'run',
      b: 'run',
      c: 'maybe',
      d: 'hit',
    });
  });

  it('finds what is behind a changed stage that gave the same bytes', async () => {
    const world = new World();
    const constant = (stage: PlannedStage): string => stage.name;
    world.run(spec(), constant);
    world.run(spec({ a: 'y' }), constant);
    expect(new Set(Object.values(states(await world.resolve(spec({ a: 'y' })))))).toEqual(new Set(['hit']));
  });

  it('does not take a record for a hit whose bytes are gone', async () => {
    const world = new World();
    world.run(spec());
    for (const [key, found] of world.records) {
      if (found.past.stage === 'b') world.records.set(key, { ...found, missing: ['out/model.safetensors'] });
    }
    const resolution = await world.resolve(spec());
    expect(states(resolution)).toEqual({ a: 'hit', b: 'run', c: 'maybe', d: 'hit' });
    expect(stageIn(resolution, 'b')).toMatchObject({
      why: { kind: 'bytes-gone', missing: ['out/model.safetensors'] },
    });
  });

  it('takes the cost from records that asked for the same', async () => {
    const world = new World();
    world.run(spec());
    const { cost } = stageIn(await world.resolve(spec({ a: 'y' })), 'b') as Extract<
      ResolvedStage,
      { state: 'maybe' }
    >;
    expect(cost).toEqual({ device: 'cpu', seconds: { low: 10, high: 10 }, source: 'records' });
  });

  it('sums what runs for certain as the low end, and what may run as the high end', async () => {
    const world = new World();
    world.run(spec());
    const { totals } = await world.resolve(spec({ a: 'y' }));
    expect(totals.cpuSeconds).toEqual({ low: 0, high: 20 });
    expect(totals).toMatchObject({ run: 1, maybe: 2, unknownCosts: 1 });
  });
});

describe('an import that is not pinned', () => {
  const plan = planOf(compileFixture('valid/puzzle.yaml', { profile: 'rehearsal' }));

  it('is a maybe, and so nothing behind it is known', async () => {
    const resolution = await new World().resolve(plan);
    expect(stageIn(resolution, 'parent')).toMatchObject({ state: 'maybe', why: { kind: 'unpinned' } });
    expect(stageIn(resolution, 'calibration')).toMatchObject({ state: 'run', why: { kind: 'new' } });
  });

  it('whose bytes lie here is taken at the digest that they have', async () => {
    const world = new World();
    world.observed.set('parent', digestOf('parent'));
    world.observed.set('rows', digestOf('rows'));
    const resolution = await world.resolve(plan);
    expect(stageIn(resolution, 'parent')).toMatchObject({ state: 'run' });
    expect(
      stageIn(resolution, 'calibration').key,
      'its inputs are known though they were never imported',
    ).not.toBeNull();
  });
});

describe('a plan of 200 stages with everything there', () => {
  it('resolves in less than 0.3 s', async () => {
    const stages = Array.from({ length: 200 }, (_, i) => {
      const reads = i < 20 ? '' : `a: s${i - 20}.out, b: s${i - 11}.out`;
      return `  s${i}: { kind: command, inputs: { ${reads} }, with: { argv: [cp, "${i}"], outputs: { out: out } } }`;
    });
    const plan = planOf(
      compileTexts({ 'l.yaml': `fretsaw: v1\nname: layers\nstages:\n${stages.join('\n')}\n` }),
    );
    const world = new World();
    world.run(plan);
    const cpu = process.cpuUsage();
    const { totals } = await world.resolve(plan);
    const { user, system } = process.cpuUsage(cpu);
    expect(totals.hit).toBe(200);
    expect((user + system) / 1e6).toBeLessThan(0.3);
  });
});
