import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../core/errors.ts';
import { ChatPrompts } from '../evaluation/chat-prompts.ts';
import type { Endpoint } from '../evaluation/endpoint/chat-client.ts';
import { EndpointRunner } from '../evaluation/endpoint/endpoint-runner.ts';
import { readEndpointSettings, type EndpointSettings } from '../evaluation/endpoint/endpoint-settings.ts';
import { launchServer } from '../evaluation/endpoint/launched-server.ts';
import {
  probeServed,
  readModelCards,
  requireServed,
  type ServeProof,
} from '../evaluation/endpoint/serve-proof.ts';
import type { AnswerRequest, ModelRunner } from '../evaluation/model-runner.ts';
import { JsonFields } from '../evaluation/json-fields.ts';
import type { ExecutionProvider } from '../evaluation/onnx/decoder-graph.ts';
import { OnnxRunner } from '../evaluation/onnx/onnx-runner.ts';
import type { JobArtifact, JobFile } from './job-folder.ts';

export interface RunnerEnvironment {
  env: NodeJS.ProcessEnv;
}

export interface OpenRunner {
  runner: ModelRunner;
  name: string;
  /** Undefined in process: there the bytes were verified and nobody else had them. */
  proof: ServeProof | undefined;
  /** The command of a server that was started here. */
  argv: string[] | undefined;
  endpoint: Endpoint | undefined;
  close(): Promise<void>;
}

interface RunnerOf {
  file: JobFile;
  model: JobArtifact;
  kind: 'onnx' | 'endpoint';
  batchSize: number;
  /** Questions that tell one checkpoint from another. */
  probes: readonly AnswerRequest[];
}

const readyMs = 30 * 60_000;

/** What answers for a stage: the model in this process, or a server that was shown to serve it. */
export async function openRunner(of: RunnerOf, { env }: RunnerEnvironment): Promise<OpenRunner> {
  const { file, model, kind, batchSize } = of;
  if (kind === 'onnx') {
    if (!existsSync(join(model.path, 'onnx.json')))
      throw new Failure('BAD_INPUT', 'runner: onnx needs an exported model (kind export-onnx)');
    const runner = await OnnxRunner.open(model.path, {
      threads: file.threads,
      batchSize,
      provider: providerOf(file),
    });
    const none = { proof: undefined, argv: undefined, endpoint: undefined };
    const name = providerOf(file) === 'cpu' ? 'onnxruntime-node' : 'onnxruntime-node, CUDA';
    return { runner, name, ...none, close: () => runner.close() };
  }
  const settings = readEndpointSettings(file.resources, (name) => env[name]);
  const { server } = settings;
  const launched =
    server.kind === 'launch'
      ? await launchServer({ argv: server.argv, folder: model.path, env, readyMs })
      : undefined;
  try {
    const url = launched?.url ?? (server.kind === 'up' ? server.url : '');
    const endpoint = endpointOf(url, settings);
    const runner = await endpointRunner(endpoint, settings, model);
    const proof = await prove(of, { endpoint, runner, isLaunched: launched !== undefined });
    const close = async (): Promise<void> => launched?.close();
    return { runner, name: 'openai-endpoint', proof, argv: launched?.argv, endpoint, close };
  } catch (error) {
    await launched?.close();
    throw error;
  }
}

/** A stage that asks for a GPU decodes on it. */
export function providerOf({ resources }: JobFile): ExecutionProvider {
  const fields = JsonFields.of(resources, 'resources');
  return fields.has('gpus') && fields.integer('gpus', 0) > 0 ? 'cuda' : 'cpu';
}

function endpointOf(url: string, { model, apiKey, silenceMs, answerMs }: EndpointSettings): Endpoint {
  return { url, model, apiKey, silenceMs, answerMs };
}

async function endpointRunner(
  endpoint: Endpoint,
  { concurrency, tries, budget }: EndpointSettings,
  model: JobArtifact,
): Promise<EndpointRunner> {
  const hasTokenizer = existsSync(join(model.path, 'tokenizer.json'));
  return new EndpointRunner({
    endpoint,
    prompts: hasTokenizer ? await ChatPrompts.open(model.path) : undefined,
    concurrency: { first: Math.min(4, concurrency), most: concurrency },
    tries,
    backoff: { firstMs: 500, mostMs: 60_000, random: Math.random },
    budget,
  });
}

async function prove(
  { file, model, probes }: RunnerOf,
  { endpoint, runner, isLaunched }: { endpoint: Endpoint; runner: ModelRunner; isLaunched: boolean },
): Promise<ServeProof> {
  const cards = await readModelCards(endpoint.url, endpoint.apiKey);
  const card = requireServed(cards, endpoint.model, model.digest);
  if (existsSync(join(model.path, 'onnx.json'))) {
    const here = await OnnxRunner.open(model.path, { threads: file.threads, batchSize: probes.length });
    try {
      return await probeServed(runner, here, probes);
    } finally {
      await here.close();
    }
  }
  if (isLaunched) return { kind: 'launched' };
  if (card.digest !== undefined) return { kind: 'declared' };
  throw new Failure(
    'BAD_INPUT',
    `${endpoint.url} does not say which checkpoint ${endpoint.model} is: give \`launch\`, so that the job starts the server on the verified files`,
  );
}
