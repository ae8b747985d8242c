import { once } from 'node:events';
import { parseArgs } from 'node:util';
import type { ExecutionProvider } from '../evaluation/onnx/decoder-graph.ts';
import { startServer } from '../evaluation/server/openai-server.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { findServable } from './find-servable.ts';

/** `fretsaw serve <checkpoint>`: an OpenAI-compatible server of a rehearsed checkpoint, until Ctrl-C. */
export const command: Command = {
  async run(invocation) {
    const { args, env, cwd, terminal, json } = invocation;
    const { values, positionals } = parseArgs({ args, allowPositionals: true, options });
    const [name, ...more] = positionals;
    if (name === undefined || more.length > 0) throw new UsageError('expected one checkpoint or folder');
    const home = homePaths(env, cwd);
    const servable = await findServable(name, { invocation, home, store: openHomeStore(home) });
    const server = await startServer({
      folder: servable.folder,
      digest: servable.digest,
      name: values.name ?? name,
      host: values.host,
      port: whole(values.port, '--port', 0),
      threads: whole(values.threads, '--threads', 1),
      batchSize: whole(values.batch, '--batch', 1),
      queueSize: whole(values.queue, '--queue', 0),
      maxNewTokens: whole(values['max-new-tokens'], '--max-new-tokens', 1),
      provider: providerNamed(values.provider),
    });
    const about = { url: server.url, model: values.name ?? name, digest: servable.digest };
    terminal.out(json ? `${JSON.stringify(about)}\n` : describe(about));
    await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
    await server.close();
    return exitCodes.ok;
  },
};

const options = {
  host: { type: 'string', default: '127.0.0.1' },
  port: { type: 'string', default: '8000' },
  threads: { type: 'string', default: '1' },
  batch: { type: 'string', default: '16' },
  queue: { type: 'string', default: '256' },
  'max-new-tokens': { type: 'string', default: '512' },
  provider: { type: 'string', default: 'cpu' },
  name: { type: 'string' },
} as const;

function describe({ url, model, digest }: { url: string; model: string; digest: string }): string {
  const body = `{"model": "${model}", "messages": [{"role": "user", "content": "3+4"}]}`;
  return [
    `${model} (${digest}) at ${url}/v1, until Ctrl-C`,
    `  curl ${url}/v1/chat/completions -H 'content-type: application/json' -d '${body}'`,
    '',
  ].join('\n');
}

function providerNamed(text: string): ExecutionProvider {
  if (text === 'cpu' || text === 'cuda') return text;
  throw new UsageError(`--provider: expected cpu or cuda, found ${text}`);
}

function whole(text: string, option: string, least: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`${option}: expected a whole number of at least ${least}, found ${text}`);
}
