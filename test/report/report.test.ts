import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runGate } from '../../activities/gate.ts';
import type { InlineJob } from '../../activities/inline-job.ts';
import { runReport } from '../../activities/report.ts';
import { runSelect } from '../../activities/select.ts';
import { isFailure } from '../../core/errors.ts';
import { significant } from '../../report/figures.ts';
import { pairedDifferences } from '../../report/retention.ts';
import { frontier } from '../../report/statistics.ts';
import { rehearsalConfig, scoresDocument } from '../selection/fixture.ts';
import {
  answerLines,
  curveLines,
  folderWith,
  modelNames,
  rankingDocument,
  resultsOf,
  timingsOf,
} from './fixture.ts';

let root: string;
const read = (output: string, file: string): string => readFileSync(join(root, output, file), 'utf8');

function job(stage: string, settings: InlineJob['settings'], inputs: InlineJob['inputs']): InlineJob {
  const outputs =
    { select: ['architecture', 'proof'], gate: ['verdict'], report: [stage] }[stage.split('-')[0] ?? ''] ??
    [];
  return {
    settings,
    inputs,
    inputDigests: { proof: `sha256:${'ab'.repeat(32)}`, results: { child: `sha256:${'cd'.repeat(32)}` } },
    outputs: Object.fromEntries(outputs.map((name) => [name, join(root, name)])),
    progress: () => undefined,
    stage,
    run: 'run-1',
  };
}

let results: Record<string, string>;
let timings: Record<string, string>;
let chosen: InlineJob['inputs'];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'fretsaw-report-'));
  results = Object.fromEntries(
    modelNames.map((name) => [
      name,
      folderWith(root, `results-${name}`, { 'results.json': resultsOf(name) }),
    ]),
  );
  timings = Object.fromEntries(
    modelNames.map((name) => [
      name,
      folderWith(root, `timings-${name}`, { 'timings.json': timingsOf(name) }),
    ]),
  );
  chosen = {
    scores: folderWith(root, 'scores', { 'scores.json': scoresDocument({ longContext: true }) }),
    model: folderWith(root, 'model', { 'config.json': rehearsalConfig }),
  };
  const settings = {
    experts_kept_max: 0.75,
    full_attention_windowed: 2,
    noise_samples: 2,
    pareto_points: 4,
    random_samples: 10,
  };
  await runSelect(job('select', settings, chosen));
});
afterAll(() => {
  rmSync(root, { recursive: true });
});

describe('select, as a stage', () => {
  it('writes an architecture of choices only, the same bytes each time', async () => {
    const before = read('architecture', 'architecture.json');
    expect(Object.keys(JSON.parse(before) as object)).toEqual(['layers', 'schema']);
    expect(before).toContain('{"experts":12,"window":16}');
    await runSelect(
      job(
        'select',
        {
          experts_kept_max: 0.76,
          full_attention_windowed: 2,
          noise_samples: 0,
          pareto_points: 0,
          random_samples: 0,
        },
        chosen,
      ),
    );
    expect(read('architecture', 'architecture.json')).toBe(before);
  });
});

describe('a gate, as a stage', () => {
  const rules = [
    { metric: 'accuracy', model: 'control', baseline: 'parent', effort: 'high', at_least: 0.97 },
  ];

  it('writes its verdict and fails the stage when a rule does not hold', async () => {
    const failure: unknown = await runGate(job('gate', { rules }, { results })).catch(
      (error: unknown) => error,
    );
    expect(isFailure(failure, 'GATE_FAILED')).toBe(true);
    expect(String(failure)).toContain('accuracy of control / parent (high) at least 0.97');
    expect(JSON.parse(read('verdict', 'verdict.json'))).toMatchObject({
      schema: 'fretsaw/verdict/v2',
      passed: false,
    });
  });

  it('only reports when told to', async () => {
    await runGate(job('gate', { rules, on_fail: 'report' }, { results }));
    expect(JSON.parse(read('verdict', 'verdict.json'))).toMatchObject({ passed: false });
  });

  const answered = (name: string, share: number, cap = 64): string => {
    const document = resultsOf(name) as { tasks: object[] };
    const tasks = document.tasks.map((cell) => ({ ...cell, max_new_tokens: cap }));
    return folderWith(root, `answered-${name}-${cap}`, {
      'results.json': { ...document, tasks },
      'answers.jsonl': answerLines(share),
    });
  };

  it('says how sure it is by the answers to the same questions', async () => {
    const inputs = { results: { parent: answered('parent', 0.9), control: answered('control', 0.5) } };
    await expect(runGate(job('gate', { rules }, inputs))).rejects.toThrow(
      /missed by .*; 95 % from .*, holds in 0\.0 % of 2000 resamples of 80 questions: beyond noise/,
    );
  });

  it('that a person overrides stops nothing, and its verdict says who and why', async () => {
    const override = { by: 'ada', reason: 'only the demo needs it' };
    await runGate(job('gate', { rules, override }, { results }));
    expect(JSON.parse(read('verdict', 'verdict.json'))).toMatchObject({ passed: false, override });
    await runReport(job('report', { title: 'x' }, { results, verdict: join(root, 'verdict') }));
    const said = 'ada let it pass: only the demo needs it';
    for (const file of ['report.html', 'report.md', 'report.txt'])
      expect(read('report', file)).toContain(said);
    for (const wrong of [{ by: 'ada' }, { by: ' ', reason: 'x' }, { by: 'ada', reason: '' }])
      await expect(runGate(job('gate', { rules, override: wrong }, { results }))).rejects.toMatchObject({
        code: 'BAD_INPUT',
      });
  });

  it('refuses to set results under unlike caps against each other, unless it is told to', async () => {
    const inputs = { results: { parent: answered('parent', 0.9), control: answered('control', 0.5, 128) } };
    await expect(runGate(job('gate', { rules, on_fail: 'report' }, inputs))).rejects.toMatchObject({
      code: 'NOT_COMPARABLE',
      message: expect.stringContaining('cap of arithmetic at low: control 128, parent 64') as string,
    });
    const settings = { title: 'x', baseline: 'parent' };
    await expect(runReport(job('report', settings, inputs))).rejects.toMatchObject({
      code: 'NOT_COMPARABLE',
    });
    await runGate(job('gate', { rules, on_fail: 'report', unlike: 'allow' }, inputs));
    expect(read('verdict', 'verdict.json')).toContain('cap of recall at high: control 128, parent 64');
    await runReport(job('report', { ...settings, unlike: 'allow' }, inputs));
    expect(read('report', 'report.md')).toContain('Compared although unlike: cap of arithmetic at low');
  });

  it('refuses a rule without a limit', async () => {
    await expect(
      runGate(job('gate', { rules: [{ metric: 'accuracy', model: 'child' }] }, { results })),
    ).rejects.toThrow('gate.with.rules[0]: expected at_least or at_most');
  });
});

describe('a report', () => {
  const settings = {
    title: 'A <small> model & its parent',
    baseline: 'parent',
    order: modelNames,
    labels: { child: 'child, scored' },
    timing_of: { fp8: 'average', parent_fp8: 'parent' },
    comparisons: [{ title: 'Scored against random', left: 'child', right: 'control' }],
  };

  it('draws every part of a run in one page that loads nothing', async () => {
    await runGate(job('gate', { rules: [{ metric: 'accuracy', model: 'fp8', at_least: 0.5 }] }, { results }));
    const inputs = {
      ...chosen,
      results,
      timings,
      architecture: join(root, 'architecture'),
      proof: join(root, 'proof'),
      verdict: join(root, 'verdict'),
      ranking: folderWith(root, 'ranking', { 'ranking.json': rankingDocument(8, 16) }),
      kept: {
        child: folderWith(root, 'kept', {
          'kept.json': {
            schema: 'fretsaw/kept-experts/v1',
            layers: Array.from({ length: 8 }, () => [0, 1, 2]),
          },
        }),
      },
      curves: {
        distill: folderWith(root, 'distill', { 'curves.jsonl': curveLines('distill', 40) }),
        rl_high: folderWith(root, 'rl', { 'curves.jsonl': curveLines('reinforce', 30) }),
      },
    };
    await runReport(job('report', settings, inputs));
    const html = read('report', 'report.html');
    expectWellFormed(html);
    expect(html).toContain('A &lt;small&gt; model &amp; its parent');
    expect(html).not.toMatch(/<script|src=|href="http|url\(http|@import/);
    expect(html).not.toMatch(/NaN|Infinity|undefined/);
    // Told apart without colour: a shape an effort, hollow where another point is better in both.
    const frontierSvg = /<section id="efficiency">[^]*?<\/svg>/.exec(html)?.[0] ?? '';
    for (const shape of [
      /<circle [^>]*class="mark m0/,
      /<path [^>]*class="mark m1/,
      /<rect [^>]*class="mark m2/,
    ])
      expect(frontierSvg).toMatch(shape);
    expect(frontierSvg).toMatch(/class="mark m\d hollow"/);
    expect(frontierSvg).toMatch(/class="mark m\d"/);
    for (const id of [
      'gate',
      'accuracy',
      'comparisons',
      'lengths',
      'efficiency',
      'layers',
      'selection',
      'experts',
      'blocks',
      'training',
      'provenance',
    ]) {
      expect(html).toContain(`<section id="${id}">`);
    }
    expect(html).toContain('every model that has it: parent fp8 (time of parent), fp8 (time of average)');
  });

  it('says of a selection what each limit and layer costs, what comes next, and how others compare', async () => {
    // Somebody else's: as many experts in every layer, attention as the first selection has it.
    const { layers: own } = JSON.parse(read('architecture', 'architecture.json')) as { layers: object[] };
    const other = {
      'architecture.json': {
        schema: 'fretsaw/architecture/v1',
        layers: own.map((layer) => ({ ...layer, experts: 12 })),
      },
    };
    const scenario = { name: 'short', input_tokens: 96, output_tokens: 64, gpus: 1, hardware: 'h100-sxm' };
    const asked = { experts_kept_max: 0.75, full_attention_windowed: 2, scenarios: [scenario] };
    const references = { everywhere_12: folderWith(root, 'other', other) };
    await runSelect(job('select', asked, { ...chosen, references }));
    const inputs = {
      ...chosen,
      results,
      architecture: join(root, 'architecture'),
      proof: join(root, 'proof'),
    };
    await runReport({
      ...job('report', settings, inputs),
      outputs: { report: join(root, 'report-others') },
    });
    const proof = JSON.parse(read('proof', 'proof.json')) as {
      constraints: { name: string; slack: number; tighter1Percent: number | null }[];
      layers: { keepingAll: number | null }[];
      alternatives: { value: number }[];
      references: { value: number; sameBudget: { value: number } }[];
    };
    const markdown = read('report-others', 'report.md');
    const section = /## How the architecture was chosen[^]*?(?=\n## )/.exec(markdown)?.[0] ?? '';
    const [row] = proof.constraints;
    if (row === undefined) throw new Error('expected constraints');
    expect(section).toMatch(new RegExp(`\\| ${row.name} \\|.*${significant(row.tighter1Percent, 6)}`));
    for (const { value } of proof.alternatives) expect(section).toContain(significant(value, 6));
    expect(proof.alternatives.length).toBeGreaterThan(0);
    const [reference] = proof.references;
    expect(section).toContain(`| everywhere_12 | ${significant(reference?.value, 6)} |`);
    expect(section).toContain(`| best at its budget | ${significant(reference?.sameBudget.value, 6)} |`);
    for (const source of ['2411.19146', '2602.11937', 'Geoffrion', 'fretsaw certify'])
      expect(section).toContain(source);
    for (const name of ['same experts in every layer', 'greedy', 'best of random ones'])
      expect(section).toContain(name);
    const layers = /## The layer map[^]*?(?=\n## )/.exec(markdown)?.[0] ?? '';
    const kept = proof.layers.flatMap(({ keepingAll }) => ((keepingAll ?? 0) > 0 ? [keepingAll] : []));
    expect(kept.length).toBeGreaterThan(0);
    for (const cost of kept) expect(layers).toContain(`| ${significant(cost, 3)} |`);
  });

  it('has a table for every picture in Markdown, and the same figures in JSON', () => {
    const markdown = read('report', 'report.md');
    expect(markdown).toContain('| child, scored |');
    expect(markdown).toMatch(
      /\*\*The accuracy-speed frontier: every point of the picture, fastest first\*\*/,
    );
    expect(markdown).toMatch(/\| ○ beaten by [a-z0-9 ,]+, (low|medium|high) \|/);
    expect(markdown).toContain('**● on it**');
    expect(markdown).toContain('**Retention by task, of “parent”, per cent ± one standard error**');
    expect(markdown).toContain('**Tokens of an answer at 10, 50, 90 and 99 % of all**');
    expect(markdown).not.toMatch(/NaN|Infinity|undefined/);
    const json = JSON.parse(read('report', 'report.json')) as {
      schema: string;
      models: { name: string; timing: { measuredOn: string } }[];
    };
    expect(json.schema).toBe('fretsaw/report/v1');
    expect(json.models.map((model) => model.name)).toEqual(modelNames);
    expect(json.models.find((model) => model.name === 'fp8')?.timing.measuredOn).toBe('average');
  });

  it('lines up its terminal table', () => {
    const lines = read('report', 'report.txt').split('\n');
    const table = lines.slice(2, 4 + modelNames.length);
    expect(table[0]).toContain('tokens, high');
    expect(table[1]).toMatch(/^─+$/);
    expect(new Set(table.map((line) => line.length)).size).toBe(1);
  });

  it('is the same bytes from the same inputs', async () => {
    await runReport(job('report', settings, { results, timings }));
    const before = read('report', 'report.html');
    await runReport(job('report', settings, { results, timings }));
    expect(read('report', 'report.html')).toBe(before);
  });

  it('leaves out what there is nothing to show of', async () => {
    await runReport(
      job('report', { title: 'Results alone' }, { results: { child: results['child'] ?? '' } }),
    );
    const html = read('report', 'report.html');
    expectWellFormed(html);
    expect(html).toContain('<section id="accuracy">');
    expect(html).not.toContain('<section id="efficiency">');
    expect(html).not.toContain('<section id="layers">');
    expect(html).not.toContain('<section id="gate">');
  });

  it('draws 36 layers of 128 experts', async () => {
    const layers = Array.from({ length: 36 }, (_, i) => ({
      experts: i % 3 === 0 ? 64 : 128,
      window: i % 2 === 0 ? 128 : i % 4 === 1 ? 8192 : null,
    }));
    const proof = {
      ...(JSON.parse(read('proof', 'proof.json')) as object),
      parentLayers: layers.map((_, i) => ({ experts: 128, window: i % 2 === 0 ? 128 : null })),
    };
    const inputs = {
      architecture: folderWith(root, 'big', {
        'architecture.json': { schema: 'fretsaw/architecture/v1', layers },
      }),
      proof: folderWith(root, 'big-proof', { 'proof.json': proof }),
      ranking: folderWith(root, 'big-ranking', { 'ranking.json': rankingDocument(36, 128) }),
    };
    await runReport(job('report', { title: 'Large' }, inputs));
    const html = read('report', 'report.html');
    expectWellFormed(html);
    expect(html).toContain('9 of the parent’s 18 full-attention layers have a window');
    expect(html).toContain('>8K<');
  });

  it('says which document is missing or of another schema', async () => {
    const empty = folderWith(root, 'empty', {});
    await expect(runReport(job('report', { title: 'x' }, { results: { child: empty } }))).rejects.toThrow(
      'expected results.json in',
    );
    const other = folderWith(root, 'other', { 'results.json': { schema: 'fretsaw/results/v1' } });
    await expect(runReport(job('report', { title: 'x' }, { results: { child: other } }))).rejects.toThrow(
      'results.json.schema: expected fretsaw/results/v3, found "fretsaw/results/v1"',
    );
  });
});

describe('a paired difference', () => {
  const answers = (task: string, marks: string): Parameters<typeof pairedDifferences>[0] =>
    Array.from(marks).map((mark, id) => ({
      ...{ task, effort: 'high', id: String(id), isCorrect: mark === '1' },
      ...{ tokens: 5, isCapped: false, hasFinal: true },
    }));

  it('is taken question by question, with a smaller error than independent ones', () => {
    const left = answers('recall', '1111100000');
    const right = answers('recall', '1111000000');
    const found = pairedDifferences(left, right)['high'];
    expect(found?.value).toBeCloseTo(0.1, 12);
    // One question in ten differs: drawn again, the difference is binomial with share 0.1.
    expect(found?.standardError).toBeCloseTo(Math.sqrt((0.1 * 0.9) / 10), 2);
    expect(found?.interval[0]).toBe(0);
    expect(found?.examples).toBe(10);
  });

  it('weighs tasks alike, and there is none where the two did not answer the same questions', () => {
    const left = [...answers('recall', '11'), ...answers('sums', '0000')];
    const right = [...answers('recall', '00'), ...answers('sums', '0000')];
    expect(pairedDifferences(left, right)['high']).toMatchObject({ value: 0.5, examples: 6 });
    expect(pairedDifferences(left, right.slice(1))['high']).toBeUndefined();
  });
});

describe('the frontier', () => {
  it('marks a point dominated only when another is at least as good in both and better in one', () => {
    const at = (name: string, accuracy: number, speed: number): Parameters<typeof frontier>[0][number] => ({
      name,
      label: name,
      tasks: [],
      suite: [
        {
          effort: 'high',
          examples: 1,
          accuracy,
          standardError: 0,
          meanTokens: 1,
          ...{ capHitRate: 0, finalRate: 1, errors: 0, interval: [0, 1] as const },
          tokenQuantiles: { p10: 1, p50: 1, p90: 1, p99: 1 },
        },
      ],
      conditions: { decoding: 'greedy', cells: [] },
      timing: {
        ...{ tokensPerSecond: speed, standardError: null, runner: '', threads: 1, batchSize: 1, machine: '' },
        measuredOn: name,
      },
    });
    const points = frontier([
      at('slow', 0.9, 1),
      at('fast', 0.8, 2),
      at('worse', 0.8, 1.5),
      at('twin', 0.9, 1),
    ]);
    expect(points.map((point) => [point.model.name, point.dominatedBy?.model.name])).toEqual([
      ['slow', undefined],
      ['fast', undefined],
      ['worse', 'fast'],
      ['twin', undefined],
    ]);
    expect(points.map(({ isDominated }) => isDominated)).toEqual([false, false, true, false]);
  });
});

/** Every element is closed in order: enough of a parser to catch a broken tag. */
function expectWellFormed(html: string): void {
  const open: string[] = [];
  const voids = new Set(['meta', '!doctype']);
  for (const [, closing, name, rest] of html
    .replace(/<style>[^]*?<\/style>/g, '')
    .matchAll(/<(\/?)([a-zA-Z!][a-zA-Z0-9]*)([^<>]*)>/g)) {
    const tag = (name ?? '').toLowerCase();
    if (voids.has(tag) || rest?.endsWith('/') === true) continue;
    if (closing === '/') expect(open.pop()).toBe(tag);
    else open.push(tag);
  }
  expect(open).toEqual([]);
}
