import { copyFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Failure } from '../core/errors.ts';
import { ChatPrompts } from '../evaluation/chat-prompts.ts';
import type { Question } from '../evaluation/endpoint/chat-client.ts';
import { closedLoop, type LoopResult } from '../evaluation/measure/closed-loop.ts';
import { FixedPrompts } from '../evaluation/measure/fixed-prompt.ts';
import { pointsCsv } from '../evaluation/measure/points-csv.ts';
import { bestPoint, summarisePoint, type SweepPoint } from '../evaluation/measure/sweep.ts';
import { findVllm, runVllmBench } from '../evaluation/measure/vllm-bench.ts';
import { serveForMeasuring, type Served } from './measure-server.ts';
import { readMeasureSettings, type MeasureSettings } from './measure-settings.ts';
import type { NodeJob } from './node-job.ts';
import type { RunnerEnvironment } from './open-runner.ts';

/** One run at one concurrency; `repeat` tells runs apart. */
type Drive = (served: Served, concurrency: number, repeat: number) => Promise<LoopResult>;

interface Client {
  name: string;
  drive: Drive;
}

/**
 * `measure`: a closed loop at each tensor-parallel size and concurrency, several times over; the best throughput within the
 * bounds on latency. Every server uses all the stage's GPUs.
 */
export async function measureStage(job: NodeJob, environment: RunnerEnvironment): Promise<void> {
  const settings = readMeasureSettings(job.file.with);
  const client = await clientOf(job, settings, environment);
  const points: SweepPoint[] = [];
  const engines: object[] = [];
  for (const [at, tensorParallel] of settings.tensorParallel.entries()) {
    const served = await serveForMeasuring(job, { settings, tensorParallel }, environment);
    try {
      points.push(...(await sweep(job, { settings, served, client, at })));
      engines.push({ ...served.parallelism, ...served.engine });
    } finally {
      await served.close();
    }
  }
  const best = bestPoint(points);
  if (best === undefined) throw new Failure('BAD_INPUT', 'no concurrency keeps the bounds on latency');
  await writeResults(job, { settings, points, best, engines, client: client.name });
}

/** vLLM's own client where it is installed and a server is asked over the wire; else ours. */
async function clientOf(
  job: NodeJob,
  settings: MeasureSettings,
  { env }: RunnerEnvironment,
): Promise<Client> {
  const { path } = job.input('model');
  const { inputTokens, outputTokens, rounds, runner, client } = settings;
  const vllm = runner === 'endpoint' && client !== 'closed-loop' ? findVllm(env) : undefined;
  if (client === 'vllm' && vllm === undefined)
    throw new Failure('BAD_INPUT', 'client: vllm is not on the PATH of this worker');
  if (vllm !== undefined) {
    return {
      name: 'vllm bench serve',
      drive: (served, concurrency, repeat) =>
        runVllmBench(
          vllm,
          { endpoint: served.endpoint, env },
          {
            ...{ concurrency, requests: concurrency * rounds, inputTokens, outputTokens },
            ...{ tokenizer: path, seed: repeat * 1000 + concurrency },
          },
        ),
    };
  }
  const prompts = new FixedPrompts(await ChatPrompts.open(path), inputTokens);
  const ask = (salt: string): Question => ({
    messages: [{ role: 'user', content: prompts.next(salt) }],
    ...{ effort: 'low', maxNewTokens: outputTokens, temperature: 0, seed: undefined, ignoresEnd: true },
  });
  return {
    name: 'closed loop',
    drive: async ({ endpoint, parallelism }, concurrency, repeat) => {
      const salt = `${parallelism.tensorParallel}${repeat}${concurrency}`;
      const questions = Array.from({ length: concurrency * rounds }, (_, index) => ask(`${salt}${index} `));
      const loop = { concurrency, requests: questions.length, outputTokens };
      return await closedLoop(endpoint, (index) => questions[index] ?? ask(`${salt}${index} `), loop);
    },
  };
}

async function sweep(
  job: NodeJob,
  of: { settings: MeasureSettings; served: Served; client: Client; at: number },
): Promise<SweepPoint[]> {
  const { settings, served, client, at } = of;
  const { concurrency, repeats, bounds, tensorParallel } = settings;
  const runs = new Map<number, LoopResult[]>(concurrency.map((each) => [each, []]));
  const own = repeats * concurrency.length;
  // The first answers pay for what a server does once.
  await client.drive(served, 1, repeats);
  // Each repeat goes through the whole sweep: what drifts with time falls on all points alike.
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const [nth, each] of concurrency.entries()) {
      job.stopIfAsked();
      const result = await client.drive(served, each, repeat);
      runs.get(each)?.push(result);
      const step = at * own + repeat * concurrency.length + nth + 1;
      job.progress(step, own * tensorParallel.length, { unit: 'runs' });
      job.metrics(step, { concurrency: each, tokens_per_second: result.tokensPerSecond });
    }
  }
  return [...runs.values()].map((all) => summarisePoint(all, served.parallelism, bounds));
}

interface Measured {
  settings: MeasureSettings;
  points: SweepPoint[];
  best: SweepPoint;
  engines: object[];
  client: string;
}

/** measure.json with every run, timings.json with the best point, and points.csv beside config.json where the hardware has a name. */
async function writeResults(job: NodeJob, measured: Measured): Promise<void> {
  const { settings, points, best, engines, client } = measured;
  const folder = job.output('timings');
  const model = job.input('model');
  const machine = { cpu: cpuName(), cores: cpus().length, node: process.version };
  const document = {
    schema: 'fretsaw/measure/v2',
    ...{ model: model.digest, client, engines, machine, settings, points },
    best: { tensor_parallel: best.tensorParallel, concurrency: best.concurrency },
  };
  await writeFile(join(folder, 'measure.json'), `${JSON.stringify(document, null, 1)}\n`);
  await writeFile(join(folder, 'timings.json'), `${JSON.stringify(timingsOf(job, measured), null, 1)}\n`);
  if (settings.hardware === undefined) return;
  const of = {
    ...settings,
    hardware: settings.hardware,
    config: 'config.json',
    name: model.digest.slice(7, 19),
  };
  await writeFile(join(folder, 'points.csv'), pointsCsv(points, of));
  await copyFile(join(model.path, 'config.json'), join(folder, 'config.json'));
}

function timingsOf(job: NodeJob, { settings, best, client }: Measured): object {
  const { inputTokens, outputTokens } = settings;
  return {
    schema: 'fretsaw/timings/v1',
    runner: `measure (${client}), ${inputTokens} in, ${outputTokens} out`,
    threads: job.file.threads,
    batch_size: best.concurrency,
    tokens: best.runs.reduce((sum, run) => sum + run.outputTokens, 0),
    seconds: best.runs.reduce((sum, run) => sum + run.seconds, 0),
    tokens_per_second: best.tokensPerSecond.mean,
    standard_error: best.tokensPerSecond.standardError,
    // The GPUs where they are named: their hosts may differ.
    machine: settings.hardware ?? `${cpus().length} cores of ${cpuName()}`,
    served: null,
  };
}

function cpuName(): string {
  return cpus()[0]?.model ?? 'unknown';
}
