import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { measureStage } from '../../activities/measure-job.ts';
import { runNodeJob } from '../../activities/node-job.ts';
import { closedLoop } from '../../evaluation/measure/closed-loop.ts';
import { bestPoint, spreadOf, type SweepPoint } from '../../evaluation/measure/sweep.ts';
import { nanoOnnx } from '../evaluation/golden.ts';
import { startFakeServer } from '../support/fake-openai.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-measure-'));
});
afterEach(() => {
  rmSync(home, { recursive: true });
});

async function measure(settings: object): Promise<{ code: number; events: string }> {
  const job = {
    schema: 'fretsaw/job/v1',
    key: `sha256:${'0'.repeat(64)}`,
    kind: 'measure',
    version: '1',
    attempt: 1,
    with: {
      runner: 'onnx',
      input_tokens: 60,
      output_tokens: 12,
      concurrency: [1, 4],
      rounds: 2,
      repeats: 2,
      ...settings,
    },
    inputs: { model: { digest: `sha256:${'a'.repeat(64)}`, path: nanoOnnx } },
    outputs: { timings: join(home, 'out') },
    resources: {},
    threads: 1,
    folder: home,
    resume: null,
    lease: { seconds: 0 },
  };
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'job.json'), JSON.stringify(job));
  const host = { pid: 1, onStop: () => undefined, exit: () => undefined };
  const code = await runNodeJob(join(home, 'job.json'), (each) => measureStage(each, { env: {} }), host);
  return { code, events: readFileSync(join(home, 'events.jsonl'), 'utf8') };
}

describe('a measurement', () => {
  it('has every token that was asked for, latencies in order, and the best point as timings', async () => {
    expect((await measure({})).code).toBe(0);
    const found = JSON.parse(readFileSync(join(home, 'out', 'measure.json'), 'utf8')) as {
      points: SweepPoint[];
      best: number;
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
    expect(timings['batch_size']).toBe(found.best);
  }, 60_000);

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

describe('a sweep', () => {
  it('takes the fastest point within bounds', () => {
    const point = (concurrency: number, mean: number, isWithinBounds: boolean): SweepPoint => ({
      concurrency,
      runs: [],
      tokensPerSecond: { mean, interval: null },
      itlP99Ms: 0,
      ttftP99Ms: 0,
      isWithinBounds,
    });
    expect(bestPoint([point(1, 10, true), point(4, 30, true), point(8, 50, false)])?.concurrency).toBe(4);
    expect(bestPoint([point(1, 10, false)])).toBeUndefined();
  });

  it('gives Student’s interval over repeats, and none for one', () => {
    expect(spreadOf([10])).toEqual({ mean: 10, interval: null });
    // Two repeats, standard error 1: 12.706 either way.
    expect(spreadOf([9, 11]).interval?.[1]).toBeCloseTo(10 + 12.706, 3);
  });
});
