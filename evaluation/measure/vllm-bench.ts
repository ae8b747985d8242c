import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Failure } from '../../core/errors.ts';
import type { Endpoint } from '../endpoint/chat-client.ts';
import { JsonFields } from '../json-fields.ts';
import type { Quantiles } from '../statistics.ts';
import type { LoopResult, LoopSettings } from './closed-loop.ts';

/** One run of vLLM's own client: a closed loop of random prompts of one length. */
export interface VllmRun extends LoopSettings {
  inputTokens: number;
  /** Folder of the tokenizer. */
  tokenizer: string;
  /** Another one makes other prompts, so that no prefix cache helps. */
  seed: number;
}

/** The `vllm` on PATH; undefined where it is not installed. */
export function findVllm(env: NodeJS.ProcessEnv): string | undefined {
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, 'vllm')).find((path) => existsSync(path));
}

/** Runs `vllm bench serve` and reads what it saves; ENDPOINT_DOWN with its last words when it fails. */
export async function runVllmBench(
  program: string,
  { endpoint, env }: { endpoint: Endpoint; env: NodeJS.ProcessEnv },
  run: VllmRun,
): Promise<LoopResult> {
  const folder = await mkdtemp(join(tmpdir(), 'fretsaw-vllm-'));
  try {
    const key = endpoint.apiKey === undefined ? {} : { OPENAI_API_KEY: endpoint.apiKey };
    await runProgram(program, vllmArguments(endpoint, run, folder), { ...env, ...key });
    return parseVllmResult(await readFile(join(folder, resultFile), 'utf8'), run);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const resultFile = 'result.json';
const percentiles = [10, 50, 90, 99] as const;

/** Flags of `vllm bench serve` (vllm/benchmarks/serve.py): the first prompts warm the server up and do not count. */
export function vllmArguments(endpoint: Endpoint, run: VllmRun, folder: string): string[] {
  return [
    ...['bench', 'serve', '--backend', 'openai', '--base-url', endpoint.url],
    ...['--model', endpoint.model, '--tokenizer', run.tokenizer],
    ...['--dataset-name', 'random', '--random-range-ratio', '0', '--ignore-eos'],
    ...['--random-input-len', String(run.inputTokens), '--random-output-len', String(run.outputTokens)],
    ...['--num-prompts', String(run.requests), '--max-concurrency', String(run.concurrency)],
    ...['--num-warmups', String(run.concurrency), '--seed', String(run.seed)],
    ...['--percentile-metrics', 'ttft,itl,e2el', '--metric-percentiles', percentiles.join(',')],
    ...['--disable-tqdm', '--save-result', '--result-dir', folder, '--result-filename', resultFile],
  ];
}

/**
 * What `vllm bench serve --save-result` writes (vllm/benchmarks/serve.py, `result_json`). Totals are asserted: no failed
 * request (ENDPOINT_DOWN), output tokens as asked (BAD_INPUT).
 */
export function parseVllmResult(text: string, { concurrency, requests, outputTokens }: VllmRun): LoopResult {
  const fields = JsonFields.parse(text, 'vllm bench serve');
  const completed = fields.integer('completed', 0);
  // Versions before `failed` leave it to be worked out.
  const failed = fields.has('failed') ? fields.integer('failed', 0) : requests - completed;
  if (failed > 0 || completed !== requests)
    throw new Failure(
      'ENDPOINT_DOWN',
      `${failed} of ${requests} requests failed at concurrency ${concurrency}`,
    );
  const written = fields.integer('total_output_tokens', 0);
  if (written !== requests * outputTokens)
    throw new Failure(
      'BAD_INPUT',
      `asked for ${requests} times ${outputTokens} tokens, vllm counted ${written}: no figure would compare`,
    );
  const seconds = fields.number('duration');
  return {
    concurrency,
    requests: completed,
    seconds,
    promptTokens: fields.integer('total_input_tokens', 0),
    outputTokens: written,
    tokensPerSecond: written / seconds,
    ttftMs: quantilesOf(fields, 'ttft'),
    itlMs: quantilesOf(fields, 'itl'),
    requestMs: quantilesOf(fields, 'e2el'),
  };
}

function quantilesOf(fields: JsonFields, metric: string): Quantiles {
  const at = (percentile: (typeof percentiles)[number]): number =>
    fields.number(`p${percentile}_${metric}_ms`);
  return { p10: at(10), p50: at(50), p90: at(90), p99: at(99) };
}

async function runProgram(program: string, argv: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(program, argv, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let told = '';
  child.stderr.on('data', (part: Buffer) => {
    told = (told + part.toString()).slice(-2000);
  });
  const end = await new Promise<string>((resolve) => {
    child.once('error', (error) => {
      resolve(error.message);
    });
    child.once('close', (code, signal) => {
      resolve(code === 0 ? '' : `ended with ${code ?? signal ?? 'nothing'}`);
    });
  });
  if (end !== '') throw new Failure('ENDPOINT_DOWN', `${program} bench serve: ${end}: ${told}`);
}
