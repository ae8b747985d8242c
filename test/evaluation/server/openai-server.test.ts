import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChatPrompts } from '../../../evaluation/chat-prompts.ts';
import { EndpointRunner } from '../../../evaluation/endpoint/endpoint-runner.ts';
import { probeServed, readModelCards, requireServed } from '../../../evaluation/endpoint/serve-proof.ts';
import type { ModelAnswer, ModelRunner } from '../../../evaluation/model-runner.ts';
import { OnnxRunner } from '../../../evaluation/onnx/onnx-runner.ts';
import { startServer, type OpenAiServer } from '../../../evaluation/server/openai-server.ts';
import { logProbability } from '../../../evaluation/server/token-completion.ts';
import { nanoOnnx, readGoldenAnswers } from '../golden.ts';
import { startFakeServer } from '../../support/fake-openai.ts';

const golden = readGoldenAnswers();
const cap = 40;
const requests = golden.map(({ id, messages, effort }) => ({
  id: `${id} ${effort}`,
  messages,
  effort,
  maxNewTokens: cap,
}));
const digest = `sha256:${'a'.repeat(64)}`;

let server: OpenAiServer;
beforeAll(async () => {
  server = await startServer({
    folder: nanoOnnx,
    name: 'nano',
    digest,
    host: '127.0.0.1',
    port: 0,
    threads: 1,
    batchSize: 5,
    queueSize: 100,
    maxNewTokens: 16,
  });
});
afterAll(async () => {
  await server.close();
});

async function clientOf(url: string, hasPrompts: boolean): Promise<EndpointRunner> {
  return new EndpointRunner({
    endpoint: { url, model: 'nano', apiKey: undefined, silenceMs: 20_000, answerMs: 60_000 },
    prompts: hasPrompts ? await ChatPrompts.open(nanoOnnx) : undefined,
    concurrency: { first: 8, most: 16 },
    tries: 2,
    backoff: { firstMs: 1, mostMs: 10, random: () => 0 },
    budget: { seconds: undefined, tokens: undefined },
  });
}

async function answersOf(runner: ModelRunner): Promise<Map<string, ModelAnswer>> {
  const answers = new Map<string, ModelAnswer>();
  await runner.generate(requests, {
    decoding: { kind: 'greedy' },
    onAnswer: (each) => answers.set(each.id, each),
    onTokens: () => undefined,
    shouldStop: () => false,
  });
  return answers;
}

async function post(
  body: unknown,
  path = 'chat/completions',
): Promise<{ status: number; json: Record<string, unknown> }> {
  const response = await fetch(`${server.url}/v1/${path}`, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}

const question = golden[0] ?? { messages: [], effort: 'low', tokenIds: [] };

describe('the served model', () => {
  it('answers over HTTP, many at once, token for token as transformers does', async () => {
    const answers = await answersOf(await clientOf(server.url, true));
    for (const { id, effort, tokenIds } of golden) {
      expect(answers.get(`${id} ${effort}`)).toMatchObject({ tokenIds, error: null });
    }
  });

  it('splits channels itself for a client without a tokenizer, with the same analysis, final and counts', async () => {
    const here = await OnnxRunner.open(nanoOnnx, { threads: 1, batchSize: 5 });
    const [inProcess, served] = [await answersOf(here), await answersOf(await clientOf(server.url, false))];
    await here.close();
    for (const [id, answer] of inProcess) {
      expect(served.get(id)).toMatchObject({
        tokens: answer.tokens,
        final: answer.final === '' ? null : answer.final,
        isCapped: answer.isCapped,
      });
    }
  });

  it('answers in one piece too, with usage, ids on request, and the default cap', async () => {
    const { status, json } = await post({
      model: 'nano',
      messages: question.messages,
      reasoning_effort: question.effort,
      temperature: 0,
      return_token_ids: true,
    });
    expect(status).toBe(200);
    const [choice] = json['choices'] as { token_ids: number[]; finish_reason: string }[];
    expect(choice?.token_ids).toEqual(question.tokenIds.slice(0, 16));
    const usage = json['usage'] as Record<string, number>;
    expect(usage['completion_tokens']).toBe(choice?.token_ids.length);
    expect(usage['total_tokens']).toBe((usage['prompt_tokens'] ?? 0) + (usage['completion_tokens'] ?? 0));
  });

  it('samples the same answer from the same seed', async () => {
    const ask = async (seed: number): Promise<unknown> => {
      const body = { messages: question.messages, seed, return_token_ids: true, max_tokens: 30 };
      return ((await post(body)).json['choices'] as { token_ids: unknown }[])[0]?.token_ids;
    };
    expect(await ask(7)).toEqual(await ask(7));
    expect(await ask(7)).not.toEqual(await ask(8));
  });

  it.each<[string, unknown, string]>([
    ['text that is no JSON', '{"messages": [', 'not JSON'],
    ['no messages', { messages: [] }, 'expected at least one'],
    ['a picture', { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, 'only text'],
    ['two answers', { messages: question.messages, n: 2 }, 'n: only 1'],
    ['nucleus sampling', { messages: question.messages, top_p: 0.9 }, 'top_p: only 1'],
    ['tools', { messages: question.messages, tools: [] }, 'tools is not served'],
    ['another effort', { messages: question.messages, reasoning_effort: 'extreme' }, 'expected low, medium'],
    ['more than the context', { messages: question.messages, max_tokens: 200_000 }, 'beyond the context'],
    ['no room for a token', { messages: question.messages, max_tokens: 0 }, 'max_tokens'],
  ])('refuses %s with 400 and says why', async (_, body, message) => {
    const { status, json } = await post(body);
    expect(status).toBe(400);
    expect((json['error'] as { message: string }).message).toContain(message);
  });

  it('goes on after a client that left in the middle of its answer', async () => {
    const leaving = new AbortController();
    const response = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({
        messages: question.messages,
        stream: true,
        max_tokens: 100_000,
        ignore_eos: true,
        return_token_ids: true,
      }),
      signal: leaving.signal,
    });
    await response.body?.getReader().read();
    leaving.abort();
    const answers = await answersOf(await clientOf(server.url, true));
    expect(answers.get(requests[0]?.id ?? '')?.tokenIds).toEqual(question.tokenIds);
  });
});

describe('completions of token ids', () => {
  const complete = (body: object): Promise<{ status: number; json: Record<string, unknown> }> =>
    post({ prompt: promptIds, return_token_ids: true, ...body }, 'completions');
  let promptIds: number[] = [];
  beforeAll(async () => {
    const prompts = await ChatPrompts.open(nanoOnnx);
    promptIds = [...prompts.encode(question.messages, question.effort)];
  });

  it('are those of the chat whose prompt has these ids', async () => {
    const { status, json } = await complete({ max_tokens: 12, temperature: 0, logprobs: 1 });
    expect(status).toBe(200);
    expect(json['object']).toBe('text_completion');
    const [choice] = json['choices'] as { token_ids: number[]; finish_reason: string }[];
    expect(choice?.token_ids).toEqual(question.tokenIds.slice(0, 12));
    expect(choice).toMatchObject({ prompt_token_ids: promptIds });
    expect(json['usage']).toMatchObject({
      prompt_tokens: promptIds.length,
      completion_tokens: choice?.token_ids.length,
    });
  });

  it('say of every token how likely it was, whatever the temperature', async () => {
    const answers = await Promise.all(
      [0, 0.01].map(async (temperature) => {
        const { json } = await complete({ max_tokens: 6, temperature, seed: 3, logprobs: 1 });
        const [choice] = json['choices'] as { token_ids: number[]; logprobs: { token_logprobs: number[] } }[];
        return choice;
      }),
    );
    expect(answers[0]?.logprobs.token_logprobs).toHaveLength(answers[0]?.token_ids.length ?? -1);
    expect(answers[0]?.token_ids).toEqual(answers[1]?.token_ids);
    for (const [at, value] of (answers[0]?.logprobs.token_logprobs ?? []).entries()) {
      expect(value).toBeLessThan(0);
      expect(answers[1]?.logprobs.token_logprobs[at]).toBeCloseTo(value, 5);
    }
  });

  it.each<[string, object, string]>([
    ['text', { prompt: 'hello' }, 'prompt: expected a list'],
    ['nothing', { prompt: [] }, 'at least one'],
    ['an id that the model has not', { prompt: [100_000] }, 'no token 100000'],
    ['another end', { stop_token_ids: [5] }, '5 does not end an answer'],
    ['the likeliest others', { logprobs: 5 }, 'only 0 and 1'],
    ['a stream', { stream: true }, 'stream is not served'],
    ['nucleus sampling', { top_p: 0.9 }, 'top_p: only 1'],
    ['more than the context', { max_tokens: 200_000 }, 'beyond the context'],
  ])('refuse %s with 400 and say why', async (_, body, message) => {
    const { status, json } = await complete(body);
    expect(status).toBe(400);
    expect((json['error'] as { message: string }).message).toContain(message);
  });
});

describe('log probabilities', () => {
  it('are logits less the logarithm of the sum of their exponentials, for large logits too', () => {
    const logits = Float32Array.from([1000, 999, 998]);
    const all = [0, 1, 2].map((id) => Math.exp(logProbability(logits, id)));
    expect(all.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
    expect((all[0] ?? 0) / (all[1] ?? 0)).toBeCloseTo(Math.E, 10);
  });
});

describe('a client', () => {
  it('believes a server that names the digest, and refuses one that names another', async () => {
    const cards = await readModelCards(server.url, undefined);
    expect(requireServed(cards, 'nano', digest).digest).toBe(digest);
    expect(() => requireServed(cards, 'nano', `sha256:${'b'.repeat(64)}`)).toThrow('expected a server of');
    expect(() => requireServed(cards, 'other', digest)).toThrow('the server has no model other; it has nano');
  });

  it('finds by its answers that a server serves the model, and that another does not', async () => {
    const here = await OnnxRunner.open(nanoOnnx, { threads: 1, batchSize: 4 });
    const probes = requests.slice(0, 4);
    expect(await probeServed(await clientOf(server.url, true), here, probes)).toMatchObject({
      kind: 'probed',
      answers: 4,
    });
    const other = await startFakeServer(() => ({ kind: 'answer', content: '42' }));
    await expect(probeServed(await clientOf(other.url, true), here, probes)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    await other.close();
    await here.close();
  });
});
