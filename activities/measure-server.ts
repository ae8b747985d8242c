import { Failure } from '../core/errors.ts';
import type { Endpoint } from '../evaluation/endpoint/chat-client.ts';
import { JsonFields } from '../evaluation/json-fields.ts';
import type { Parallelism } from '../evaluation/measure/sweep.ts';
import { startServer } from '../evaluation/server/openai-server.ts';
import type { JobFile } from './job-folder.ts';
import type { MeasureSettings } from './measure-settings.ts';
import type { NodeJob } from './node-job.ts';
import { openRunner, providerOf, type RunnerEnvironment } from './open-runner.ts';

/** A server that is up and was shown to serve the stage's model. */
export interface Served {
  endpoint: Endpoint;
  parallelism: Parallelism;
  /** What is known of the engine: name, version, command. */
  engine: object;
  close(): Promise<void>;
}

/** The server of one tensor-parallel size: the exported model's own, or that of `resources.endpoint`. */
export async function serveForMeasuring(
  job: NodeJob,
  { settings, tensorParallel }: { settings: MeasureSettings; tensorParallel: number },
  environment: RunnerEnvironment,
): Promise<Served> {
  return settings.runner === 'onnx'
    ? await serveOnnx(job, settings)
    : await serveEndpoint(job, { settings, tensorParallel }, environment);
}

/** One of the stage's cores is for the clients, which run in this process too. */
async function serveOnnx(job: NodeJob, settings: MeasureSettings): Promise<Served> {
  const model = job.input('model');
  const most = Math.max(...settings.concurrency);
  const server = await startServer({
    ...{ folder: model.path, name: 'model', digest: model.digest, host: '127.0.0.1', port: 0 },
    ...{ threads: Math.max(1, job.file.threads - 1), batchSize: most, queueSize: most },
    maxNewTokens: settings.outputTokens,
    provider: providerOf(job.file),
  });
  const patience = { silenceMs: 600_000, answerMs: 3_600_000 };
  return {
    endpoint: { url: server.url, model: 'model', apiKey: undefined, ...patience },
    parallelism: { tensorParallel: 1, replicas: 1 },
    engine: {
      ...{ name: 'onnxruntime-node', version: null, argv: null, provider: providerOf(job.file) },
      ...{ batch_size: most, served: { kind: 'launched' } },
    },
    close: () => server.close(),
  };
}

async function serveEndpoint(
  job: NodeJob,
  { settings, tensorParallel }: { settings: MeasureSettings; tensorParallel: number },
  environment: RunnerEnvironment,
): Promise<Served> {
  const { file, parallelism } = fillIn(job.file, settings, tensorParallel);
  const messages = [{ role: 'user', content: '1' }];
  const opened = await openRunner(
    {
      ...{ file, model: job.input('model'), kind: 'endpoint' },
      batchSize: Math.max(...settings.concurrency),
      probes: [{ id: 'probe', messages, effort: 'low', maxNewTokens: 16 }],
    },
    environment,
  );
  if (opened.endpoint === undefined) throw new Error('bug: an endpoint runner without an endpoint');
  const version = await readVersion(opened.endpoint.url);
  return {
    endpoint: opened.endpoint,
    parallelism,
    engine: { name: opened.name, version, argv: opened.argv ?? null, served: { ...opened.proof } },
    close: () => opened.close(),
  };
}

/**
 * `resources.endpoint` with `{tensor_parallel}` and `{data_parallel}` filled in, in the words of `launch` or in `url`. A
 * command that says nothing of them cannot be swept, nor use more GPUs than one replica has.
 */
function fillIn(
  file: JobFile,
  { tensorParallel: all }: MeasureSettings,
  tensorParallel: number,
): { file: JobFile; parallelism: Parallelism } {
  const resources = JsonFields.of(file.resources, 'resources');
  const gpus = resources.has('gpus') ? resources.integer('gpus', 0) : 0;
  const replicas = gpus === 0 ? 1 : gpus / tensorParallel;
  if (!Number.isInteger(replicas))
    throw new Failure('BAD_INPUT', `tensor_parallel: ${tensorParallel} does not divide ${gpus} GPUs`);
  if (!resources.has('endpoint'))
    throw new Failure('BAD_INPUT', 'this stage needs resources.endpoint with url or launch');
  const endpoint = resources.record('endpoint');
  const text = JSON.stringify(endpoint.raw(endpoint.has('launch') ? 'launch' : 'url'));
  if (all.length > 1 && !text.includes('{tensor_parallel}'))
    throw new Failure(
      'BAD_INPUT',
      'resources.endpoint: to sweep tensor_parallel it must say {tensor_parallel}',
    );
  if (replicas > 1 && endpoint.has('launch') && !text.includes('{data_parallel}'))
    throw new Failure(
      'BAD_INPUT',
      `resources.endpoint.launch: without {data_parallel} ${gpus - tensorParallel} of ${gpus} GPUs would be idle`,
    );
  const fill = (word: string): string =>
    word
      .replaceAll('{tensor_parallel}', String(tensorParallel))
      .replaceAll('{data_parallel}', String(replicas));
  const filled = Object.fromEntries(
    endpoint.names.map((name) => {
      const value = endpoint.raw(name);
      if (name === 'launch' && endpoint.has(name)) return [name, endpoint.texts(name).map(fill)];
      return [name, name === 'url' && typeof value === 'string' ? fill(value) : value];
    }),
  );
  return {
    file: { ...file, resources: { ...file.resources, endpoint: filled } },
    parallelism: { tensorParallel, replicas },
  };
}

/** vLLM and `fretsaw serve` tell it at /version; null where a server has none. */
async function readVersion(url: string): Promise<unknown> {
  const response = await fetch(`${url}/version`).catch(() => undefined);
  return response?.ok === true ? await response.json().catch(() => null) : null;
}
