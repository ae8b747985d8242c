import { Failure } from '../../core/errors.ts';
import { askChat, type Endpoint, type Question, type StreamedAnswer } from '../endpoint/chat-client.ts';
import { quantiles, type Quantiles } from '../statistics.ts';

export interface LoopSettings {
  /** Requests open at any time; the next is sent when one ends. */
  concurrency: number;
  requests: number;
  outputTokens: number;
}

/** One run at one concurrency. Times in milliseconds. */
export interface LoopResult {
  concurrency: number;
  requests: number;
  seconds: number;
  promptTokens: number;
  outputTokens: number;
  /** Output tokens of all requests over the whole time. */
  tokensPerSecond: number;
  /** From sending a request to its first token. */
  ttftMs: Quantiles;
  /** Between two tokens of one answer. */
  itlMs: Quantiles;
  /** From sending a request to its last token. */
  requestMs: Quantiles;
}

/**
 * A fixed number of clients, each asking again as soon as it has its answer. Totals are asserted: every request is answered, and
 * with as many tokens as were asked for, or there is no result (ENDPOINT_DOWN, BAD_INPUT).
 */
export async function closedLoop(
  endpoint: Endpoint,
  question: (index: number) => Question,
  { concurrency, requests, outputTokens }: LoopSettings,
): Promise<LoopResult> {
  const answers: StreamedAnswer[] = [];
  const stop = new AbortController();
  let next = 0;
  const startedMs = performance.now();
  const client = async (): Promise<void> => {
    while (next < requests && !stop.signal.aborted) {
      const index = next++;
      answers.push(await askChat(endpoint, question(index), stop.signal));
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(concurrency, requests) }, client));
  } catch (error) {
    stop.abort();
    throw new Failure('ENDPOINT_DOWN', `a request failed at concurrency ${concurrency}: ${String(error)}`, {
      cause: error,
    });
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const written = answers.map((answer) => requireLength(answer, outputTokens));
  const total = written.reduce((sum, tokens) => sum + tokens, 0);
  return {
    concurrency,
    requests: answers.length,
    seconds,
    promptTokens: answers.reduce((sum, { promptTokens }) => sum + (promptTokens ?? 0), 0),
    outputTokens: total,
    tokensPerSecond: total / seconds,
    ttftMs: quantiles(answers.map(({ sentMs, arrivedMs }) => (arrivedMs[0] ?? NaN) - sentMs)),
    itlMs: quantiles(answers.flatMap(gapsOf)),
    requestMs: quantiles(answers.map(({ sentMs, arrivedMs }) => (arrivedMs.at(-1) ?? NaN) - sentMs)),
  };
}

function requireLength({ completionTokens }: StreamedAnswer, asked: number): number {
  if (completionTokens === asked) return asked;
  throw new Failure(
    'BAD_INPUT',
    `asked for ${asked} tokens, the server counted ${completionTokens ?? 'none'}: it does not serve ignore_eos, and no figure would compare`,
  );
}

function gapsOf({ arrivedMs }: StreamedAnswer): number[] {
  return arrivedMs.slice(1).map((atMs, index) => atMs - (arrivedMs[index] ?? NaN));
}
