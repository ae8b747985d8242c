import { isFailure } from '../../core/errors.ts';
import { JsonFields } from '../json-fields.ts';
import type { ChatMessage } from '../task-examples.ts';
import { eventData } from './event-stream.ts';
import { failureOfStatus, RequestFailure } from './request-failure.ts';

export interface Endpoint {
  /** Up to and without `/v1`. */
  url: string;
  /** What the server calls the model. */
  model: string;
  apiKey: string | undefined;
  /** A stream that is silent for so long is given up. */
  silenceMs: number;
  /** A whole answer takes no longer than that. */
  answerMs: number;
}

export interface Question {
  messages: readonly ChatMessage[];
  effort: string;
  maxNewTokens: number;
  temperature: number;
  seed: number | undefined;
  ignoresEnd: boolean;
}

export interface StreamedAnswer {
  content: string;
  reasoning: string;
  /** `stop`, `length`, `tool_calls`... as the server says. */
  finishReason: string;
  /** Raw ids where the server gives them (`return_token_ids`). */
  tokenIds: number[] | null;
  promptTokens: number | null;
  completionTokens: number | null;
  /** When the request was sent, and when each event with text or ids arrived: milliseconds of one clock. */
  sentMs: number;
  arrivedMs: number[];
  /** The server was still writing well past the cap and was cut off. */
  isRunaway: boolean;
}

/** Events beyond the cap that are waited for: a server may send a role or an empty piece of its own. */
const slackEvents = 16;

/** One streamed chat completion. Every way in which it can go wrong is a RequestFailure. */
export async function askChat(
  endpoint: Endpoint,
  question: Question,
  signal: AbortSignal,
): Promise<StreamedAnswer> {
  const giveUp = new AbortController();
  let reason = 'timeout';
  const stop = (why: string): void => {
    reason = why;
    giveUp.abort();
  };
  const whole = setTimeout(() => {
    stop(`no end of the answer in ${endpoint.answerMs} ms`);
  }, endpoint.answerMs);
  const silence = new Watchdog(endpoint.silenceMs, () => {
    stop(`nothing came for ${endpoint.silenceMs} ms`);
  });
  try {
    const combined = AbortSignal.any([signal, giveUp.signal]);
    return await ask(endpoint, question, { signal: combined, silence });
  } catch (error) {
    if (giveUp.signal.aborted) throw new RequestFailure('timeout', reason, { cause: error });
    throw error;
  } finally {
    clearTimeout(whole);
    silence.stop();
  }
}

interface Wire {
  signal: AbortSignal;
  silence: Watchdog;
}

async function ask(
  endpoint: Endpoint,
  question: Question,
  { signal, silence }: Wire,
): Promise<StreamedAnswer> {
  const sentMs = performance.now();
  const response = await send(endpoint, question, signal);
  if (!response.ok || response.body === null) {
    const body = await response.text().catch(() => '');
    throw failureOfStatus(response.status, body, response.headers.get('retry-after'));
  }
  const reader = new AnswerReader(question.maxNewTokens, sentMs);
  try {
    for await (const data of eventData(response.body)) {
      silence.touch();
      if (data === '[DONE]') break;
      reader.add(data);
      if (reader.isRunaway) break;
    }
  } catch (error) {
    if (error instanceof RequestFailure || signal.aborted) throw error;
    throw new RequestFailure('truncated', `the stream broke: ${messageOf(error)}`, { cause: error });
  }
  return reader.finish();
}

async function send(
  { url, model, apiKey }: Endpoint,
  question: Question,
  signal: AbortSignal,
): Promise<Response> {
  const body = {
    model,
    messages: question.messages,
    reasoning_effort: question.effort,
    // Both names: OpenAI and newer servers read the first, older ones only the second.
    max_completion_tokens: question.maxNewTokens,
    max_tokens: question.maxNewTokens,
    temperature: question.temperature,
    ...(question.seed === undefined ? {} : { seed: question.seed }),
    ...(question.ignoresEnd ? { ignore_eos: true } : {}),
    stream: true,
    stream_options: { include_usage: true },
    return_token_ids: true,
  };
  try {
    return await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new RequestFailure('unreachable', `${url}: ${messageOf(error)}`, { cause: error });
  }
}

/** Gathers the events of one stream. */
class AnswerReader {
  readonly #maxNewTokens: number;
  readonly #answer: StreamedAnswer;
  #isEnded = false;
  #events = 0;

  constructor(maxNewTokens: number, sentMs: number) {
    this.#maxNewTokens = maxNewTokens;
    this.#answer = {
      content: '',
      reasoning: '',
      finishReason: '',
      tokenIds: null,
      promptTokens: null,
      completionTokens: null,
      sentMs,
      arrivedMs: [],
      isRunaway: false,
    };
  }

  get isRunaway(): boolean {
    return this.#answer.isRunaway;
  }

  add(data: string): void {
    try {
      this.#add(JsonFields.parse(data, 'event'));
    } catch (error) {
      if (!isFailure(error)) throw error;
      throw new RequestFailure('malformed', error.message, { cause: error });
    }
  }

  finish(): StreamedAnswer {
    if (!this.#isEnded && !this.#answer.isRunaway)
      throw new RequestFailure('truncated', 'the stream ended before the answer did');
    return this.#answer;
  }

  #add(event: JsonFields): void {
    if (event.has('error'))
      throw new RequestFailure('server', JSON.stringify(event.raw('error')).slice(0, 300));
    if (event.has('usage')) {
      const usage = event.record('usage');
      this.#answer.promptTokens = usage.integer('prompt_tokens', 0);
      this.#answer.completionTokens = usage.integer('completion_tokens', 0);
    }
    const [choice] = event.has('choices') ? event.records('choices') : [];
    if (choice === undefined) return;
    this.#addChoice(choice);
    this.#answer.isRunaway = !this.#isEnded && this.#written > this.#maxNewTokens + slackEvents;
  }

  /** Tokens where ids come with the text, else events: no server puts less than a token in one. */
  get #written(): number {
    return this.#answer.tokenIds?.length ?? this.#events;
  }

  #addChoice(choice: JsonFields): void {
    const answer = this.#answer;
    const delta = choice.has('delta') ? choice.record('delta') : undefined;
    const content = textOf(delta, 'content');
    const reasoning = textOf(delta, 'reasoning') || textOf(delta, 'reasoning_content');
    answer.content += content;
    answer.reasoning += reasoning;
    const ids = choice.has('token_ids') ? choice.integers('token_ids') : [];
    if (ids.length > 0) answer.tokenIds = [...(answer.tokenIds ?? []), ...ids];
    if (content !== '' || reasoning !== '' || ids.length > 0) {
      this.#events++;
      answer.arrivedMs.push(performance.now());
    }
    if (!choice.has('finish_reason')) return;
    answer.finishReason = choice.text('finish_reason');
    this.#isEnded = true;
  }
}

function textOf(delta: JsonFields | undefined, name: string): string {
  return delta?.has(name) === true ? delta.text(name) : '';
}

/** Calls back when it was not touched for a while. */
class Watchdog {
  readonly #ms: number;
  readonly #onSilence: () => void;
  #timer: NodeJS.Timeout;

  constructor(ms: number, onSilence: () => void) {
    this.#ms = ms;
    this.#onSilence = onSilence;
    this.#timer = setTimeout(onSilence, ms);
  }

  touch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#onSilence, this.#ms);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

function messageOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
  return `${error instanceof Error ? error.message : String(error)}${cause}`;
}
