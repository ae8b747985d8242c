import type { ServerResponse } from 'node:http';
import type { PickToken } from '../onnx/pick-token.ts';
import { sendError, sendJson, type Identity } from './answer-writer.ts';
import type { CompletionRequest } from './completion-request.ts';

/** The tokens that continue a prompt, gathered until they are whole, with what the model thought of each. */
export class TokenCompletion {
  readonly #request: CompletionRequest;
  readonly #identity: Identity;
  readonly #tokenIds: number[] = [];
  readonly #logProbs: number[] = [];

  constructor(request: CompletionRequest, identity: Identity) {
    this.#request = request;
    this.#identity = identity;
  }

  /** Chooses as `pick` does and remembers the choice. */
  pick(pick: PickToken): PickToken {
    return (logits) => {
      const id = pick(logits);
      this.#tokenIds.push(id);
      if (this.#request.hasLogProbs) this.#logProbs.push(logProbability(logits, id));
      return id;
    };
  }

  send(
    response: ServerResponse,
    { isCapped, decode }: { isCapped: boolean; decode: (ids: number[]) => string },
  ): void {
    const { promptIds, hasLogProbs, hasTokenIds } = this.#request;
    const [ids, count] = [this.#tokenIds, this.#tokenIds.length];
    const { id, created, model } = this.#identity;
    const logprobs = { token_logprobs: this.#logProbs, tokens: ids.map((each) => `token_id:${each}`) };
    const choice = {
      index: 0,
      text: decode(ids),
      finish_reason: isCapped ? 'length' : 'stop',
      logprobs: hasLogProbs ? logprobs : null,
      ...(hasTokenIds ? { token_ids: ids, prompt_token_ids: promptIds } : {}),
    };
    sendJson(response, 200, {
      ...{ id, object: 'text_completion', created, model, choices: [choice] },
      usage: {
        prompt_tokens: promptIds.length,
        completion_tokens: count,
        total_tokens: promptIds.length + count,
      },
    });
  }

  fail(response: ServerResponse, error: unknown): void {
    sendError(response, 500, String(error));
  }
}

/** ln softmax(logits)[id], in float64. */
export function logProbability(logits: Float32Array, id: number): number {
  let top = -Infinity;
  for (const logit of logits) if (logit > top) top = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - top);
  return (logits[id] ?? NaN) - top - Math.log(sum);
}
