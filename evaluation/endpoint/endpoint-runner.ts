import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../core/errors.ts';
import type { ChatPrompts } from '../chat-prompts.ts';
import type { AnswerRequest, Decoding, GenerateOptions, ModelAnswer, ModelRunner } from '../model-runner.ts';
import { AdaptiveLimit } from './adaptive-limit.ts';
import { backoffMs, type BackoffOptions } from './backoff.ts';
import { askChat, type Endpoint, type StreamedAnswer } from './chat-client.ts';
import { RequestFailure } from './request-failure.ts';

export interface EndpointRunnerOptions {
  endpoint: Endpoint;
  /** The model's own tokenizer, which reads channels out of raw ids; undefined leaves that to the server. */
  prompts: ChatPrompts | undefined;
  /** Open requests: at first, and at most. */
  concurrency: { first: number; most: number };
  /** Tries of one request in all. */
  tries: number;
  backoff: BackoffOptions;
  /** Where the runner stops by itself; answers that it has are kept. */
  budget: { seconds: number | undefined; tokens: number | undefined };
}

/** A server with OpenAI's chat completions (vLLM, SGLang, TGI, `fretsaw serve`). */
export class EndpointRunner implements ModelRunner {
  readonly #options: EndpointRunnerOptions;

  constructor(options: EndpointRunnerOptions) {
    this.#options = options;
  }

  async generate(requests: readonly AnswerRequest[], options: GenerateOptions): Promise<void> {
    await new EndpointRun(this.#options, requests, options).run();
  }

  async close(): Promise<void> {
    // A connection is the server's and fetch's affair.
  }
}

/** One call of `generate`: what is asked, what is open, what was spent. */
class EndpointRun {
  readonly #runner: EndpointRunnerOptions;
  readonly #options: GenerateOptions;
  readonly #waiting: AnswerRequest[];
  readonly #limit: AdaptiveLimit;
  readonly #stop = new AbortController();
  readonly #startedMs = performance.now();
  #tokens = 0;
  #answered = 0;
  #failure: Failure | undefined;

  constructor(runner: EndpointRunnerOptions, requests: readonly AnswerRequest[], options: GenerateOptions) {
    this.#runner = runner;
    this.#options = options;
    this.#waiting = [...requests].sort((a, b) => b.maxNewTokens - a.maxNewTokens);
    this.#limit = new AdaptiveLimit(runner.concurrency.first, runner.concurrency.most);
  }

  async run(): Promise<void> {
    const open = new Set<Promise<void>>();
    const watch = setInterval(() => {
      if (this.#options.shouldStop()) this.#stop.abort();
      this.#requireBudget();
    }, 50);
    try {
      while ((this.#waiting.length > 0 || open.size > 0) && !this.#isOver()) {
        while (open.size < this.#limit.value && !this.#isOver()) {
          const request = this.#waiting.shift();
          if (request === undefined) break;
          const work = this.#answer(request).finally(() => open.delete(work));
          open.add(work);
        }
        await Promise.race(open);
      }
    } finally {
      clearInterval(watch);
      this.#stop.abort();
      await Promise.allSettled(open);
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #isOver(): boolean {
    return this.#stop.signal.aborted || this.#options.shouldStop();
  }

  #requireBudget(): void {
    const { seconds = Infinity, tokens = Infinity } = this.#runner.budget;
    const spentSeconds = (performance.now() - this.#startedMs) / 1000;
    if (spentSeconds > seconds) this.#fail(overBudget(`${seconds} s`, `${spentSeconds.toFixed(1)} s`));
    if (this.#tokens > tokens) this.#fail(overBudget(`${tokens} tokens`, `${this.#tokens} tokens`));
  }

  #fail(failure: Failure): void {
    this.#failure ??= failure;
    this.#stop.abort();
  }

  /** Asks until there is an answer, a refusal, or no try left. */
  async #answer(request: AnswerRequest): Promise<void> {
    const answeredBefore = this.#answered;
    for (let tries = 1; !this.#isOver(); tries++) {
      const outcome = await this.#try(request);
      if (outcome === undefined) return;
      if (outcome.isWorthRetrying && tries < this.#runner.tries) {
        await this.#pause(backoffMs(tries, outcome.retryAfterMs, this.#runner.backoff));
        continue;
      }
      this.#giveUp(request, { outcome, tries, isAlone: this.#answered === answeredBefore });
      return;
    }
  }

  /** Undefined once the answer was told, or when everything stops. */
  async #try(request: AnswerRequest): Promise<RequestFailure | undefined> {
    try {
      const answer = await askChat(
        this.#runner.endpoint,
        {
          messages: request.messages,
          effort: request.effort,
          maxNewTokens: request.maxNewTokens,
          ...sampling(this.#options.decoding, request.id),
          ignoresEnd: request.ignoresEnd ?? false,
        },
        this.#stop.signal,
      );
      this.#tell(toAnswer(request, answer, this.#runner.prompts));
      return undefined;
    } catch (error) {
      if (this.#stop.signal.aborted) return undefined;
      if (!(error instanceof RequestFailure)) throw error;
      if (error.kind === 'busy' || error.kind === 'server' || error.kind === 'unreachable')
        this.#limit.wasFull();
      return error;
    }
  }

  #tell(answer: ModelAnswer): void {
    this.#limit.wentWell();
    this.#answered++;
    this.#tokens += answer.tokens;
    this.#options.onAnswer(answer);
    this.#options.onTokens(answer.tokens);
    this.#requireBudget();
  }

  /**
   * A server that in all that time answered nobody is down, and the stage with it: it is tried again later and asks
   * only for what is missing. A server that fails one request and answers others has failed that one: an error.
   */
  #giveUp(
    request: AnswerRequest,
    { outcome, tries, isAlone }: { outcome: RequestFailure; tries: number; isAlone: boolean },
  ): void {
    const { url } = this.#runner.endpoint;
    if (outcome.kind === 'denied') {
      this.#fail(new Failure('BAD_INPUT', `${url}: ${outcome.message}`));
      return;
    }
    const isDown = outcome.kind === 'unreachable' || outcome.kind === 'server' || outcome.kind === 'busy';
    if (isDown && isAlone) {
      const message = `${url} answered nothing in ${tries} tries: ${outcome.message}`;
      this.#fail(new Failure('ENDPOINT_DOWN', message, { cause: outcome }));
      return;
    }
    const error = `${outcome.kind} after ${tries} tries: ${outcome.message}`;
    this.#options.onAnswer({ ...noAnswer(request.id), error });
    this.#options.onTokens(0);
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}

function overBudget(limit: string, spent: string): Failure {
  return new Failure('BUDGET_SPENT', `the evaluation may spend ${limit}, it has spent ${spent}`);
}

function noAnswer(id: string): Omit<ModelAnswer, 'error'> {
  return { id, tokenIds: null, tokens: 0, analysis: null, final: null, isCapped: false };
}

/** A seed of its own for every request, so that no order of requests changes an answer. */
function sampling(decoding: Decoding, requestId: string): { temperature: number; seed: number | undefined } {
  if (decoding.kind === 'greedy') return { temperature: 0, seed: undefined };
  const hash = createHash('sha256').update(`${decoding.seed}\n${requestId}`).digest();
  return { temperature: decoding.temperature, seed: hash.readUInt32BE(0) };
}

/** Channels from raw ids where there are any: the server's own split is not taken on trust. */
function toAnswer(
  request: AnswerRequest,
  answer: StreamedAnswer,
  prompts: ChatPrompts | undefined,
): ModelAnswer {
  if (answer.isRunaway) return cutOff(request, answer);
  const { tokenIds, completionTokens } = answer;
  // Ids that are fewer than the tokens counted are not the answer; a server may leave the ending one out.
  const isWhole = tokenIds !== null && Math.abs((completionTokens ?? tokenIds.length) - tokenIds.length) <= 1;
  if (isWhole && prompts !== undefined) return fromIds(request, { ...answer, tokenIds }, prompts);
  const tokens = completionTokens ?? (isWhole ? tokenIds.length : undefined);
  if (tokens === undefined) return { ...noAnswer(request.id), error: 'the server gave no usage counts' };
  return { ...fromText(request, answer), tokens };
}

function fromIds(
  { id }: AnswerRequest,
  { tokenIds, finishReason }: StreamedAnswer & { tokenIds: number[] },
  prompts: ChatPrompts,
): ModelAnswer {
  const { harmony } = prompts;
  const hasEnding = [harmony.return, harmony.call].includes(tokenIds.at(-1) ?? -1);
  const whole = hasEnding || finishReason !== 'stop' ? tokenIds : [...tokenIds, harmony.return];
  const isCapped = finishReason === 'length';
  return { id, tokenIds: whole, tokens: whole.length, ...prompts.parse(whole), isCapped, error: null };
}

/** What stands in the final channel of an answer that was cut off is not an answer. */
function fromText(
  { id }: AnswerRequest,
  { content, reasoning, finishReason }: StreamedAnswer,
): Omit<ModelAnswer, 'tokens'> {
  return {
    id,
    tokenIds: null,
    analysis: textOrNull(reasoning),
    final: finishReason === 'stop' ? textOrNull(content.trim()) : null,
    isCapped: finishReason === 'length',
    error: null,
  };
}

/** A server that writes past the cap: its answer counts as one that hit it. */
function cutOff({ id, maxNewTokens }: AnswerRequest, { reasoning }: StreamedAnswer): ModelAnswer {
  const analysis = textOrNull(reasoning);
  return { id, tokenIds: null, tokens: maxNewTokens, analysis, final: null, isCapped: true, error: null };
}

function textOrNull(text: string): string | null {
  return text === '' ? null : text;
}
