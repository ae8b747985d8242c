import { isFailure } from '../../core/errors.ts';
import { JsonFields } from '../json-fields.ts';
import type { Decoding } from '../model-runner.ts';
import type { ChatMessage } from '../task-examples.ts';

/** What of OpenAI's chat completions is served; every other way to change an answer is refused. */
export interface ChatRequest {
  messages: ChatMessage[];
  effort: string;
  maxNewTokens: number;
  decoding: Decoding;
  /** An answer ends before the first of these in its final channel. */
  stop: string[];
  isStreamed: boolean;
  /** A last event with the token counts (`stream_options.include_usage`). */
  hasUsageEvent: boolean;
  /** Add the raw ids, as vLLM does (`return_token_ids`). */
  hasTokenIds: boolean;
  /** Write on to the cap, as vLLM does (`ignore_eos`). */
  ignoresEnd: boolean;
}

/** A refusal as the client is told of it. */
export class RequestError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface ChatDefaults {
  /** Cap of an answer whose request names none, in tokens. */
  maxNewTokens: number;
  /** Where the request names no seed. */
  seed: () => number;
}

/**
 * @see https://platform.openai.com/docs/api-reference/chat/create
 * @see https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
 */
export function parseChatRequest(text: string, defaults: ChatDefaults): ChatRequest {
  return readRequest(text, (fields) => parse(fields, defaults));
}

/** A body by `read`; whatever it finds wrong is the client's fault. */
export function readRequest<T>(text: string, read: (fields: JsonFields) => T): T {
  try {
    return read(JsonFields.parse(text, 'request'));
  } catch (error) {
    if (isFailure(error)) throw new RequestError(400, error.message);
    throw error;
  }
}

function parse(fields: JsonFields, defaults: ChatDefaults): ChatRequest {
  refuseUnserved(fields);
  const messages = fields.records('messages').map(readMessage);
  if (messages.length === 0) throw new RequestError(400, 'messages: expected at least one');
  return {
    messages,
    effort: readEffort(fields),
    maxNewTokens: readCap(fields, defaults.maxNewTokens),
    decoding: readDecoding(fields, defaults.seed),
    stop: readStop(fields),
    isStreamed: fields.has('stream') && fields.boolean('stream'),
    hasUsageEvent:
      fields.has('stream_options') &&
      fields.record('stream_options').has('include_usage') &&
      fields.record('stream_options').boolean('include_usage'),
    hasTokenIds: fields.has('return_token_ids') && fields.boolean('return_token_ids'),
    ignoresEnd: fields.has('ignore_eos') && fields.boolean('ignore_eos'),
  };
}

const neutral: Readonly<Record<string, unknown>> = {
  n: 1,
  top_p: 1,
  top_k: -1,
  min_p: 0,
  presence_penalty: 0,
  frequency_penalty: 0,
  repetition_penalty: 1,
  logprobs: false,
};

/** A setting that would change the answer and is not served must not be dropped in silence. */
export function refuseUnserved(fields: JsonFields, served: readonly string[] = []): void {
  for (const [name, value] of Object.entries(neutral)) {
    if (fields.has(name) && fields.raw(name) !== value && !served.includes(name))
      throw new RequestError(400, `${name}: only ${String(value)} is served`);
  }
  for (const name of ['tools', 'functions', 'logit_bias', 'response_format', 'guided_json']) {
    if (fields.has(name)) throw new RequestError(400, `${name} is not served`);
  }
}

function readMessage(fields: JsonFields): ChatMessage {
  const role = fields.text('role');
  if (!['system', 'developer', 'user', 'assistant'].includes(role))
    throw new RequestError(400, `messages: role ${role} is not served`);
  if (!Array.isArray(fields.raw('content'))) return { role, content: fields.text('content') };
  const parts = fields.records('content').map((part) => {
    if (part.text('type') !== 'text') throw new RequestError(400, 'messages: only text is served');
    return part.text('text');
  });
  return { role, content: parts.join('') };
}

function readEffort(fields: JsonFields): string {
  const effort = fields.has('reasoning_effort') ? fields.text('reasoning_effort') : 'medium';
  if (!['low', 'medium', 'high'].includes(effort))
    throw new RequestError(400, `reasoning_effort: expected low, medium or high, found ${effort}`);
  return effort;
}

export function readCap(fields: JsonFields, fallback: number): number {
  const name = ['max_completion_tokens', 'max_tokens'].find((known) => fields.has(known));
  return name === undefined ? fallback : fields.integer(name, 1);
}

export function readDecoding(fields: JsonFields, seed: () => number): Decoding {
  const temperature = fields.has('temperature') ? fields.number('temperature') : 1;
  if (temperature < 0 || temperature > 5) throw new RequestError(400, `temperature is ${temperature}`);
  if (temperature === 0) return { kind: 'greedy' };
  return { kind: 'sampled', temperature, seed: fields.has('seed') ? fields.integer('seed') : seed() };
}

function readStop(fields: JsonFields): string[] {
  if (!fields.has('stop')) return [];
  const stop = typeof fields.raw('stop') === 'string' ? [fields.text('stop')] : fields.texts('stop');
  if (stop.includes('')) throw new RequestError(400, 'stop: an empty text stops everything');
  return stop;
}
