import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Failure } from '../core/errors.ts';
import { ChatPrompts } from '../evaluation/chat-prompts.ts';
import type { Endpoint, Question } from '../evaluation/endpoint/chat-client.ts';
import { JsonFields } from '../evaluation/json-fields.ts';
import { closedLoop, type LoopResult } from '../evaluation/measure/closed-loop.ts';
import { fixedPrompt } from '../evaluation/measure/fixed-prompt.ts';
import {
  bestPoint,
  summarisePoint,
  type LatencyBounds,
  type SweepPoint,
} from '../evaluation/measure/sweep.ts';
import { startServer } from '../evaluation/server/openai-server.ts';
import type { NodeJob } from './node-job.ts';
import { openRunner, type RunnerEnvironment } from './open-runner.ts';

interface MeasureSettings {
  runner: 'onnx' | 'endpoint';
  inputTokens: number;
  outputTokens: number;
  concurrency: number[];
  rounds: number;
  repeats: number;
  bounds: LatencyBounds;
}

interface Served {
  endpoint: Endpoint;
  engine: object;
  close(): Promise<void>;
}

/** `measure`: a closed loop at each concurrency, several times over; the best throughput within the bounds on latency. */
export async function measureStage(job: NodeJob, environment: RunnerEnvironment): Promise<void> {
  const settings = readSettings(job);
  const model = job.input('model');
  const prompts = await ChatPrompts.open(model.path);
  const served = await serve(job, settings, environment);
  try {
    const ask = (salt: string): Question => ({
      messages: [{ role: 'user', content: fixedPrompt(prompts, settings.inputTokens, salt) }],
      effort: 'low',
      maxNewTokens: settings.outputTokens,
      temperature: 0,
      seed: undefined,
      ignoresEnd: true,
    });
    const points = await sweep(job, settings, { endpoint: served.endpoint, ask });
    const best = bestPoint(points);
    if (best === undefined) throw new Failure('BAD_INPUT', 'no concurrency keeps the bounds on latency');
    await writeResults(job, { settings, points, best, engine: served.engine });
  } finally {
    await served.close();
  }
}

async function serve(
  job: NodeJob,
  settings: MeasureSettings,
  environment: RunnerEnvironment,
): Promise<Served> {
  const model = job.input('model');
  const most = Math.max(...settings.concurrency);
  if (settings.runner === 'onnx') {
    const server = await startServer({
      ...{ folder: model.path, name: 'model', digest: model.digest, host: '127.0.0.1', port: 0 },
      ...{ threads: job.file.threads, batchSize: most, queueSize: most, maxNewTokens: settings.outputTokens },
    });
    const patience = { silenceMs: 600_000, answerMs: 3_600_000 };
    const engine = { name: 'onnxruntime-node', argv: null, batch_size: most, served: { kind: 'launched' } };
    return {
      endpoint: { url: server.url, model: 'model', apiKey: undefined, ...patience },
      engine,
      close: () => server.close(),
    };
  }
  const messages = [{ role: 'user', content: '1' }];
  const probes = [{ id: 'probe', messages, effort: 'low', maxNewTokens: 16 }];
  const opened = await openRunner(
    { file: job.file, model, kind: 'endpoint', batchSize: most, probes },
    environment,
  );
  if (opened.endpoint === undefined) throw new Error('bug: an endpoint runner without an endpoint');
  const version = await readVersion(opened.endpoint.url);
  const engine = { name: opened.name, version, argv: opened.argv ?? null, served: { ...opened.proof } };
  return { endpoint: opened.endpoint, engine, close: () => opened.close() };
}

/** vLLM and `fretsaw serve` tell it at /version; null where a server has none. */
async function readVersion(url: string): Promise<unknown> {
  const response = await fetch(`${url}/version`).catch(() => undefined);
  return response?.ok === true ? await response.json().catch(() => null) : null;
}

async function sweep(
  job: NodeJob,
  { concurrency, rounds, repeats, outputTokens, bounds }: MeasureSettings,
  { endpoint, ask }: { endpoint: Endpoint; ask: (salt: string) => Question },
): Promise<SweepPoint[]> {
  const runs = new Map<number, LoopResult[]>(concurrency.map((each) => [each, []]));
  const total = repeats * concurrency.length;
  // The first answers pay for what a server does once.
  await closedLoop(endpoint, (index) => ask(`w${index} `), { concurrency: 1, requests: 1, outputTokens });
  // Each repeat goes through the whole sweep: what drifts with time falls on all points alike.
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const [at, each] of concurrency.entries()) {
      job.stopIfAsked();
      const questions = Array.from({ length: each * rounds }, (_, index) => ask(`${repeat}${at}${index} `));
      const loop = { concurrency: each, requests: questions.length, outputTokens };
      const result = await closedLoop(endpoint, (index) => questions[index] ?? ask(String(index)), loop);
      runs.get(each)?.push(result);
      job.progress(repeat * concurrency.length + at + 1, total, { unit: 'runs' });
      job.metrics(repeat * concurrency.length + at + 1, {
        concurrency: each,
        tokens_per_second: result.tokensPerSecond,
      });
    }
  }
  return [...runs.values()].map((all) => summarisePoint(all, bounds));
}

async function writeResults(
  job: NodeJob,
  result: { settings: MeasureSettings; points: SweepPoint[]; best: SweepPoint; engine: object },
): Promise<void> {
  const { settings, points, best, engine } = result;
  const folder = job.output('timings');
  const all = best.runs;
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };
  const document = {
    schema: 'fretsaw/measure/v1',
    model: job.input('model').digest,
    engine,
    machine,
    settings,
    points,
    best: best.concurrency,
  };
  await writeFile(join(folder, 'measure.json'), `${JSON.stringify(document, null, 1)}\n`);
  const timings = {
    schema: 'fretsaw/timings/v1',
    runner: `measure, ${settings.inputTokens} in, ${settings.outputTokens} out`,
    threads: job.file.threads,
    batch_size: best.concurrency,
    tokens: all.reduce((sum, run) => sum + run.outputTokens, 0),
    seconds: all.reduce((sum, run) => sum + run.seconds, 0),
    tokens_per_second: best.tokensPerSecond.mean,
    served: null,
  };
  await writeFile(join(folder, 'timings.json'), `${JSON.stringify(timings, null, 1)}\n`);
}

function readSettings(job: NodeJob): MeasureSettings {
  const fields = JsonFields.of(job.file.with, 'measure').only([
    ...['runner', 'input_tokens', 'output_tokens', 'concurrency', 'rounds', 'repeats'],
    ...['itl_p99_ms', 'ttft_p99_ms'],
  ]);
  const runner = fields.text('runner');
  if (runner !== 'onnx' && runner !== 'endpoint')
    throw new Failure('BAD_INPUT', `measure: runner is ${runner}`);
  const bound = (name: string): number | undefined => (fields.has(name) ? fields.number(name) : undefined);
  return {
    runner,
    inputTokens: fields.integer('input_tokens', 1),
    outputTokens: fields.integer('output_tokens', 2),
    concurrency: fields.integers('concurrency'),
    rounds: fields.integer('rounds', 1),
    repeats: fields.integer('repeats', 1),
    bounds: { itlP99Ms: bound('itl_p99_ms'), ttftP99Ms: bound('ttft_p99_ms') },
  };
}
