import { JsonFields } from '../json-fields.ts';
import type { Decoding } from '../model-runner.ts';
import {
  readCap,
  readDecoding,
  readRequest,
  refuseUnserved,
  RequestError,
  type ChatDefaults,
} from './chat-request.ts';

/** What of OpenAI's completions is served: a prompt of token ids, continued. What trains on answers asks so. */
export interface CompletionRequest {
  promptIds: number[];
  maxNewTokens: number;
  decoding: Decoding;
  /** Add the log probability of every token, before temperature, as vLLM's `raw_logprobs` are. */
  hasLogProbs: boolean;
  /** Add the raw ids, as vLLM does (`return_token_ids`). */
  hasTokenIds: boolean;
  /** Ids that must end an answer. */
  stopIds: number[];
  /** Write on to the cap, as vLLM does (`ignore_eos`). */
  ignoresEnd: boolean;
}

/**
 * @see https://platform.openai.com/docs/api-reference/completions/create
 * @see https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
 */
export function parseCompletionRequest(text: string, defaults: ChatDefaults): CompletionRequest {
  return readRequest(text, (fields) => parse(fields, defaults));
}

const notServed = ['stream', 'echo', 'stop', 'suffix', 'best_of', 'prompt_logprobs'];

function parse(fields: JsonFields, defaults: ChatDefaults): CompletionRequest {
  refuseUnserved(fields, ['logprobs']);
  for (const name of notServed) {
    if (fields.has(name) && fields.raw(name) !== false) throw new RequestError(400, `${name} is not served`);
  }
  const promptIds = fields.integers('prompt');
  if (promptIds.length === 0) throw new RequestError(400, 'prompt: expected at least one token id');
  return {
    promptIds,
    maxNewTokens: readCap(fields, defaults.maxNewTokens),
    decoding: readDecoding(fields, defaults.seed),
    hasLogProbs: fields.has('logprobs') && readLogProbs(fields),
    hasTokenIds: fields.has('return_token_ids') && fields.boolean('return_token_ids'),
    stopIds: fields.has('stop_token_ids') ? fields.integers('stop_token_ids') : [],
    ignoresEnd: fields.has('ignore_eos') && fields.boolean('ignore_eos'),
  };
}

/** The tokens that were chosen are told of, no others. */
function readLogProbs(fields: JsonFields): boolean {
  const count = fields.integer('logprobs', 0);
  if (count > 1) throw new RequestError(400, `logprobs: only 0 and 1 are served, found ${count}`);
  return true;
}
