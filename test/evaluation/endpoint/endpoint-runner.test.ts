import { afterEach, describe, expect, it } from 'vitest';
import { EndpointRunner, type EndpointRunnerOptions } from '../../../evaluation/endpoint/endpoint-runner.ts';
import type { AnswerRequest, ModelAnswer } from '../../../evaluation/model-runner.ts';
import { startFakeServer, type Asked, type FakeServer, type Meeting } from '../../support/fake-openai.ts';

let server: FakeServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const questions = (count: number): AnswerRequest[] =>
  Array.from({ length: count }, (_, n) => ({
    id: `q${n}`,
    messages: [{ role: 'user', content: `question ${n}` }],
    effort: 'high',
    maxNewTokens: 20,
  }));

type Changes = Partial<Omit<EndpointRunnerOptions, 'endpoint'>> & {
  silenceMs?: number;
  shouldStop?: (answers: number) => boolean;
};

async function ask(
  meet: (n: number, asked: Asked) => Meeting,
  requests: readonly AnswerRequest[],
  { silenceMs = 5000, shouldStop = () => false, ...changes }: Changes = {},
): Promise<Map<string, ModelAnswer>> {
  server = await startFakeServer(meet);
  const runner = new EndpointRunner({
    endpoint: { url: server.url, model: 'fake', apiKey: 'key', silenceMs, answerMs: 20_000 },
    prompts: undefined,
    concurrency: { first: 4, most: 16 },
    tries: 4,
    backoff: { firstMs: 1, mostMs: 8, random: () => 0.5 },
    budget: { seconds: undefined, tokens: undefined },
    ...changes,
  });
  const answers = new Map<string, ModelAnswer>();
  await runner.generate(requests, {
    decoding: { kind: 'greedy' },
    onAnswer: (answer) => {
      expect(answers.has(answer.id)).toBe(false);
      answers.set(answer.id, answer);
    },
    onTokens: () => undefined,
    shouldStop: () => shouldStop(answers.size),
  });
  return answers;
}

const good: Meeting = { kind: 'answer', reasoning: 'so', content: '42' };

/** The first request for each question is met with a fault, every later one well. */
function faultFirst(fault: Meeting): (n: number, asked: Asked) => Meeting {
  const seen = new Set<string>();
  return (_, { question }) => {
    const isFirst = !seen.has(question);
    seen.add(question);
    return isFirst ? fault : good;
  };
}

describe('a server with chat completions', () => {
  it('is asked with effort, cap, key and usage, and its channels are kept apart', async () => {
    const answers = await ask(() => good, questions(1));
    expect(server?.asked[0]?.body).toMatchObject({
      model: 'fake',
      reasoning_effort: 'high',
      max_completion_tokens: 20,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(server?.asked[0]?.headers.authorization).toBe('Bearer key');
    expect(answers.get('q0')).toEqual({
      id: 'q0',
      tokenIds: null,
      tokens: 5,
      analysis: 'so',
      final: '42',
      isCapped: false,
      error: null,
    });
  });

  it.each<[string, Meeting]>([
    ['429', { kind: 'status', status: 429, retryAfter: '0.01' }],
    ['500', { kind: 'status', status: 500 }],
    ['503', { kind: 'status', status: 503 }],
    ['a connection that breaks', { kind: 'cut', after: 1 }],
    ['a connection that breaks at once', { kind: 'cut', after: 0 }],
    ['a stream that ends before the answer', { kind: 'unended' }],
    ['JSON cut in two', { kind: 'malformed' }],
    ['a page of HTML', { kind: 'not-sse' }],
    ['an error inside the stream', { kind: 'error-event' }],
  ])('that meets every first request with %s is asked again, and no answer is lost', async (_, fault) => {
    const answers = await ask(faultFirst(fault), questions(6));
    expect([...answers.values()].map(({ final, error }) => [final, error])).toEqual(
      Array.from({ length: 6 }, () => ['42', null]),
    );
    expect(server?.asked).toHaveLength(12);
  });

  it('that falls silent is given up and asked again', async () => {
    const answers = await ask(faultFirst({ kind: 'silent' }), questions(2), { silenceMs: 100 });
    expect([...answers.values()].map(({ final }) => final)).toEqual(['42', '42']);
  });

  it('that cuts one answer every time has failed that one; the others count', async () => {
    const answers = await ask(
      (_, { question }) => (question === 'question 1' ? { kind: 'cut', after: 2 } : good),
      questions(3),
    );
    expect(answers.get('q1')).toMatchObject({ final: null, tokens: 0 });
    expect(answers.get('q1')?.error).toMatch(/^truncated after 4 tries/);
    expect(answers.get('q2')).toMatchObject({ final: '42', error: null });
  });

  it('that fails everybody is down: retryable, and nothing is counted as wrong', async () => {
    const answers: ModelAnswer[] = [];
    await expect(
      ask(() => ({ kind: 'status', status: 500 }), questions(3)).then((all) => answers.push(...all.values())),
    ).rejects.toMatchObject({ code: 'ENDPOINT_DOWN', retryable: true });
    expect(answers).toEqual([]);
  });

  it('that is not there is down', async () => {
    server = await startFakeServer(() => good);
    const { url } = server;
    await server.close();
    const runner = new EndpointRunner({
      endpoint: { url, model: 'fake', apiKey: undefined, silenceMs: 1000, answerMs: 1000 },
      prompts: undefined,
      concurrency: { first: 2, most: 2 },
      tries: 2,
      backoff: { firstMs: 1, mostMs: 2, random: () => 0 },
      budget: { seconds: undefined, tokens: undefined },
    });
    const asking = runner.generate(questions(2), {
      decoding: { kind: 'greedy' },
      onAnswer: () => undefined,
      onTokens: () => undefined,
      shouldStop: () => false,
    });
    await expect(asking).rejects.toMatchObject({ code: 'ENDPOINT_DOWN' });
  });

  it.each([401, 403, 404])('that says %i is asked no more: a person must act', async (status) => {
    const asking = ask(() => ({ kind: 'status', status }), questions(1));
    await expect(asking).rejects.toMatchObject({ code: 'BAD_INPUT', retryable: false });
    expect(server?.asked).toHaveLength(1);
  });

  it('that refuses one request (400) has failed that one, at the first try', async () => {
    const answers = await ask(
      (_, { question }) => (question === 'question 0' ? { kind: 'status', status: 400 } : good),
      questions(2),
    );
    expect(answers.get('q0')?.error).toMatch(/^refused after 1 tries: status 400/);
    expect(answers.get('q1')?.final).toBe('42');
    expect(server?.asked).toHaveLength(2);
  });

  it('that never ends an answer is cut off past the cap, and the answer has hit it', async () => {
    const answers = await ask(
      (_, { question }) => (question === 'question 0' ? { kind: 'endless' } : good),
      questions(2),
    );
    expect(answers.get('q0')).toMatchObject({ tokens: 20, isCapped: true, final: null, error: null });
  });

  it('whose answer was cut by the cap has no final text, whatever stood there', async () => {
    const answers = await ask(
      () => ({ kind: 'answer', content: 'the answer is 4', finish: 'length' }),
      questions(1),
    );
    expect(answers.get('q0')).toMatchObject({ final: null, isCapped: true });
  });

  it('whose answer is reasoning alone has no final text', async () => {
    const answers = await ask(() => ({ kind: 'answer', reasoning: 'it is 42' }), questions(1));
    expect(answers.get('q0')).toMatchObject({ analysis: 'it is 42', final: null, isCapped: false });
  });

  it('that gives no usage counts is told of, not guessed at', async () => {
    const answers = await ask(() => ({ kind: 'answer', content: '42', usage: false }), questions(1));
    expect(answers.get('q0')?.error).toBe('the server gave no usage counts');
  });

  it('is asked more at once while it copes, and less when it is full', async () => {
    await ask(() => ({ kind: 'answer', content: '42', pieceMs: 2 }), questions(60), {
      concurrency: { first: 1, most: 8 },
    });
    expect(server?.mostOpen).toBeGreaterThan(2);
    expect(server?.mostOpen).toBeLessThanOrEqual(8);
  });

  it('is not asked beyond the budget of tokens; what was answered is kept', async () => {
    const kept: string[] = [];
    server = await startFakeServer(() => good);
    const runner = new EndpointRunner({
      endpoint: { url: server.url, model: 'fake', apiKey: undefined, silenceMs: 5000, answerMs: 5000 },
      prompts: undefined,
      concurrency: { first: 1, most: 1 },
      tries: 1,
      backoff: { firstMs: 1, mostMs: 1, random: () => 0 },
      budget: { seconds: undefined, tokens: 12 },
    });
    const asking = runner.generate(questions(20), {
      decoding: { kind: 'greedy' },
      onAnswer: ({ id }) => kept.push(id),
      onTokens: () => undefined,
      shouldStop: () => false,
    });
    await expect(asking).rejects.toMatchObject({ code: 'BUDGET_SPENT', retryable: false });
    expect(kept).toHaveLength(3);
  });

  it('is not waited for beyond the budget of time', async () => {
    const asking = ask(() => ({ kind: 'silent' }), questions(1), {
      budget: { seconds: 0.2, tokens: undefined },
    });
    await expect(asking).rejects.toMatchObject({ code: 'BUDGET_SPENT' });
  });

  it('is left when asked to stop, with the answers that were there', async () => {
    const answers = await ask((n) => (n < 2 ? good : { kind: 'silent' }), questions(6), {
      shouldStop: (count) => count >= 2,
      concurrency: { first: 2, most: 2 },
    });
    expect(answers.size).toBe(2);
  });
});
