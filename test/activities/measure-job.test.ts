import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { measureStage } from '../../activities/measure-job.ts';
import { runNodeJob } from '../../activities/node-job.ts';
import { closedLoop } from '../../evaluation/measure/closed-loop.ts';
import { pointsCsv } from '../../evaluation/measure/points-csv.ts';
import { bestPoint, spreadOf, type SweepPoint } from '../../evaluation/measure/sweep.ts';
import { parseVllmResult } from '../../evaluation/measure/vllm-bench.ts';
import { parseModelConfig } from '../../costs/config.ts';
import { fitEngine } from '../../costs/fit.ts';
import { parseJson } from '../../costs/json-reader.ts';
import { parseMeasuredPoints } from '../../costs/measured-points.ts';
import { nanoOnnx } from '../evaluation/golden.ts';
import { root } from '../support/built.ts';
import { startFakeServer } from '../support/fake-openai.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-measure-'));
});
afterEach(() => {
  rmSync(home, { recursive: true });
});

interface Around {
  resources?: object;
  env?: NodeJS.ProcessEnv;
}

const vllmFixture = join(root, 'test', 'fixtures', 'vllm-bench.json');

async function measure(
  settings: object,
  { resources = {}, env = {} }: Around = {},
): Promise<{ code: number; events: string }> {
  const job = {
    schema: 'fretsaw/job/v1',
    key: `sha256:${'0'.repeat(64)}`,
    kind: 'measure',
    version: '1',
    attempt: 1,
    with: {
      runner: 'onnx',
      client: 'auto',
      tensor_parallel: [1],
      expert_parallel: false,
      kv: 'bf16',
      input_tokens: 60,
      output_tokens: 12,
      concurrency: [1, 4],
      rounds: 2,
      repeats: 2,
      ...settings,
    },
    inputs: { model: { digest: `sha256:${'a'.repeat(64)}`, path: nanoOnnx } },
    outputs: { timings: join(home, 'out') },
    resources,
    threads: 1,
    folder: home,
    resume: null,
    lease: { seconds: 0 },
  };
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'job.json'), JSON.stringify(job));
  const host = { pid: 1, onStop: () => undefined, exit: () => undefined };
  const code = await runNodeJob(join(home, 'job.json'), (each) => measureStage(each, { env }), host);
  return { code, events: readFileSync(join(home, 'events.jsonl'), 'utf8') };
}

describe('a measurement', () => {
  it('has every token that was asked for, latencies in order, and the best point as timings', async () => {
    expect((await measure({})).code).toBe(0);
    const found = JSON.parse(readFileSync(join(home, 'out', 'measure.json'), 'utf8')) as {
      points: SweepPoint[];
      best: { tensor_parallel: number; concurrency: number };
    };
    expect(found.points.map(({ concurrency }) => concurrency)).toEqual([1, 4]);
    for (const { concurrency, runs, tokensPerSecond } of found.points) {
      expect(runs).toHaveLength(2);
      expect(tokensPerSecond.interval).not.toBeNull();
      for (const run of runs) {
        expect(run.requests).toBe(2 * concurrency);
        expect(run.outputTokens).toBe(run.requests * 12);
        expect(run.promptTokens).toBe(run.requests * 60);
        expect(run.ttftMs.p50).toBeGreaterThan(0);
        expect(run.requestMs.p50).toBeGreaterThan(run.ttftMs.p50);
        expect(run.tokensPerSecond).toBeCloseTo(run.outputTokens / run.seconds, 9);
      }
    }
    const timings = JSON.parse(readFileSync(join(home, 'out', 'timings.json'), 'utf8')) as Record<
      string,
      number
    >;
    expect(timings['batch_size']).toBe(found.best.concurrency);
    expect(timings['standard_error']).toBeGreaterThan(0);
    expect(timings['machine']).toMatch(/^\d+ cores of /);
    expect(existsSync(join(home, 'out', 'points.csv'))).toBe(false);
  }, 60_000);

  const serve = [process.execPath, '--import', 'tsx', join(root, 'test', 'support', 'serve-onnx.ts')];
  const sizes = ['{model}', '{port}', 'tp={tensor_parallel}', 'dp={data_parallel}'];
  const swept = { runner: 'endpoint', tensor_parallel: [1, 2], concurrency: [1, 2], rounds: 1 };

  it('sweeps tensor-parallel sizes, a server each, and its points are what `costs fit` reads', async () => {
    const resources = { gpus: 2, endpoint: { launch: [...serve, ...sizes] } };
    const env = { PATH: process.env['PATH'] };
    const { code, events } = await measure({ ...swept, hardware: 'h100-sxm' }, { resources, env });
    expect(code, events).toBe(0);
    const out = join(home, 'out');
    const found = JSON.parse(readFileSync(join(out, 'measure.json'), 'utf8')) as {
      points: SweepPoint[];
      engines: { argv: string[] }[];
    };
    expect(found.points.map(({ tensorParallel, replicas, concurrency }) => [tensorParallel, replicas, concurrency]))
      .toEqual([[1, 2, 1], [1, 2, 2], [2, 1, 1], [2, 1, 2]]); // prettier-ignore
    expect(found.engines.map(({ argv }) => argv.slice(-2))).toEqual([
      ['tp=1', 'dp=2'],
      ['tp=2', 'dp=1'],
    ]);
    const points = parseMeasuredPoints(
      readFileSync(join(out, 'points.csv'), 'utf8'),
      'points.csv',
      (config) => parseModelConfig(parseJson(readFileSync(join(out, config), 'utf8'), config)),
    );
    expect(points.map(({ serving, concurrency }) => [serving.gpus, serving.replicas, concurrency])).toEqual([
      [1, 2, 1],
      [1, 2, 1],
      [2, 1, 1],
      [2, 1, 2],
    ]);
    for (const [at, { tokensPerSecond }] of points.entries())
      expect(tokensPerSecond / (found.points[at]?.tokensPerSecond.mean ?? NaN)).toBeCloseTo(1, 5);
    expect(fitEngine(points).ratios).toHaveLength(4);
  }, 120_000);

  it.each([
    [
      'names no size to sweep',
      { gpus: 2, endpoint: { launch: ['x', '{port}'] } },
      'must say {tensor_parallel}',
    ],
    [
      'would leave GPUs idle',
      { gpus: 4, endpoint: { launch: ['x', '{tensor_parallel}'] } },
      'without {data_parallel} 2 of 4 GPUs would be idle',
    ],
    [
      'has a number of GPUs that does not divide',
      { gpus: 3, endpoint: { launch: ['x', '{tensor_parallel}{data_parallel}'] } },
      '2 does not divide 3 GPUs',
    ],
    ['is not there', {}, 'needs resources.endpoint'],
  ])('of a server command that %s is refused', async (_, resources, message) => {
    const { code, events } = await measure({ ...swept, tensor_parallel: [2, 1] }, { resources });
    expect(code).toBe(1);
    expect(events).toContain(message);
  });

  it('is taken by vLLM’s own client where that is installed, and a failed program is named', async () => {
    // Stands for `vllm bench serve` on PATH: writes what vllm/benchmarks/serve.py writes, for what it is asked.
    const script = `#!${process.execPath}
const args = process.argv.slice(2);
const of = (name) => args[args.indexOf(name) + 1];
if (of('--seed') === process.env.FAIL_AT) { console.error('no such engine'); process.exit(3); }
const result = JSON.parse(require('fs').readFileSync(${JSON.stringify(vllmFixture)}, 'utf8'));
const n = Number(of('--num-prompts'));
Object.assign(result, { completed: n, total_output_tokens: n * of('--random-output-len'), total_input_tokens: n * of('--random-input-len') });
require('fs').writeFileSync(of('--result-dir') + '/' + of('--result-filename'), JSON.stringify(result));
`;
    mkdirSync(join(home, 'bin'));
    writeFileSync(join(home, 'bin', 'vllm'), script);
    chmodSync(join(home, 'bin', 'vllm'), 0o755);
    const env = { PATH: `${join(home, 'bin')}${delimiter}${process.env['PATH'] ?? ''}` };
    const resources = { endpoint: { launch: [...serve, '{model}', '{port}'] } };
    const settings = { ...swept, tensor_parallel: [1] };
    const { code, events } = await measure(settings, { resources, env });
    expect(code, events).toBe(0);
    const found = JSON.parse(readFileSync(join(home, 'out', 'measure.json'), 'utf8')) as {
      client: string;
      points: SweepPoint[];
    };
    expect(found.client).toBe('vllm bench serve');
    expect(found.points[1]?.runs[0]).toMatchObject({
      requests: 2,
      outputTokens: 24,
      tokensPerSecond: 24 / 2.5,
    });
    const failed = await measure(settings, { resources, env: { ...env, FAIL_AT: '1002' } });
    expect(failed.code).toBe(1);
    expect(failed.events).toMatch(/ENDPOINT_DOWN.*ended with 3: no such engine/);
    expect((await measure({ ...settings, client: 'vllm' }, { resources })).events).toContain(
      'not on the PATH',
    );
  }, 120_000);

  it('with a bound that nothing keeps has no result', async () => {
    const { code, events } = await measure({ itl_p99_ms: 1e-9, concurrency: [1], repeats: 1 });
    expect(code).toBe(1);
    expect(events).toContain('no concurrency keeps the bounds');
  });

  it('of prompts shorter than the template is refused', async () => {
    const { events } = await measure({ input_tokens: 3, concurrency: [1], repeats: 1 });
    expect(events).toContain('is less than an empty prompt');
  });

  it('of a server that answers shorter, or fails a request, has no result', async () => {
    const server = await startFakeServer((n) =>
      n === 0 ? { kind: 'answer', content: 'short' } : { kind: 'status', status: 500 },
    );
    const endpoint = { url: server.url, model: 'fake', apiKey: undefined, silenceMs: 2000, answerMs: 5000 };
    const question = {
      messages: [],
      effort: 'low',
      maxNewTokens: 12,
      temperature: 0,
      seed: undefined,
      ignoresEnd: true,
    };
    const ask = (): Promise<unknown> =>
      closedLoop(endpoint, () => ({ ...question, messages: [{ role: 'user', content: 'x' }] }), {
        concurrency: 1,
        requests: 1,
        outputTokens: 12,
      });
    await expect(ask()).rejects.toThrow('asked for 12 tokens, the server counted 6');
    await expect(ask()).rejects.toMatchObject({ code: 'ENDPOINT_DOWN' });
    await server.close();
  });
});

describe('what `vllm bench serve` saves', () => {
  const run = { concurrency: 4, requests: 8, inputTokens: 60, outputTokens: 12, tokenizer: '', seed: 1 };
  const saved = readFileSync(vllmFixture, 'utf8');
  const changed = (fields: object): string => JSON.stringify({ ...(JSON.parse(saved) as object), ...fields });

  it('is read with its totals and quantiles', () => {
    expect(parseVllmResult(saved, run)).toEqual({
      ...{ concurrency: 4, requests: 8, seconds: 2.5, promptTokens: 480, outputTokens: 96 },
      tokensPerSecond: 38.4,
      ttftMs: { p10: 131.5, p50: 149.8, p90: 170.2, p99: 181.9 },
      itlMs: { p10: 18, p50: 20.9, p90: 25.6, p99: 31 },
      requestMs: { p10: 362.2, p50: 386.4, p90: 411.7, p99: 430.3 },
    });
  });

  it.each([
    [{ failed: 1, completed: 7 }, 'ENDPOINT_DOWN', '1 of 8 requests failed'],
    [{ failed: undefined, completed: 5 }, 'ENDPOINT_DOWN', '3 of 8 requests failed'],
    [{ total_output_tokens: 95 }, 'BAD_INPUT', 'asked for 8 times 12 tokens, vllm counted 95'],
    [{ p99_itl_ms: undefined }, 'BAD_INPUT', 'p99_itl_ms'],
  ])('with %j is no result', (fields, code, message) => {
    expect(() => parseVllmResult(changed(fields), run)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) as string }) as Error,
    );
  });
});

describe('points for the cost model', () => {
  it('carry half the interval as uncertainty, and quote what needs it', () => {
    const point = { tensorParallel: 2, replicas: 4, concurrency: 64, runs: [], itlP99Ms: 0, ttftP99Ms: 0 };
    const of = {
      config: 'a,b.json',
      hardware: 'h100-sxm',
      hasExpertParallel: true,
      inputTokens: 1,
      outputTokens: 2,
      kv: 'fp8',
    };
    const spread = { mean: 100, standardError: 5, interval: [80, 120] as [number, number] };
    const lines = pointsCsv(
      [
        { ...point, isWithinBounds: true, tokensPerSecond: spread },
        {
          ...point,
          isWithinBounds: true,
          tokensPerSecond: { mean: 100, standardError: null, interval: null },
        },
      ],
      { ...of, name: 'm' },
    ).split('\n');
    expect(lines[1]).toBe('m tp2 c64,"a,b.json",h100-sxm,8,2,2,1,2,fp8,16,100,0.2');
    expect(lines[2]).toMatch(/,100,0\.05$/);
  });
});

describe('a sweep', () => {
  it('takes the fastest point within bounds', () => {
    const point = (concurrency: number, mean: number, isWithinBounds: boolean): SweepPoint => ({
      ...{ tensorParallel: 1, replicas: 1, concurrency },
      runs: [],
      tokensPerSecond: { mean, standardError: null, interval: null },
      itlP99Ms: 0,
      ttftP99Ms: 0,
      isWithinBounds,
    });
    expect(bestPoint([point(1, 10, true), point(4, 30, true), point(8, 50, false)])?.concurrency).toBe(4);
    expect(bestPoint([point(1, 10, false)])).toBeUndefined();
  });

  it('gives Student’s interval over repeats, and none for one', () => {
    expect(spreadOf([10])).toEqual({ mean: 10, standardError: null, interval: null });
    // Two repeats, standard error 1: 12.706 either way.
    expect(spreadOf([9, 11]).interval?.[1]).toBeCloseTo(10 + 12.706, 3);
  });
});
