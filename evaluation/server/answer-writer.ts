import type { ServerResponse } from 'node:http';
import { stopIn } from './stop-texts.ts';
import type { ChatRequest } from './chat-request.ts';
import type { ChannelDelta } from './harmony-stream.ts';

export interface Identity {
  id: string;
  model: string;
  /** Unix time in seconds. */
  created: number;
}

export interface Ending {
  finishReason: 'stop' | 'length';
  analysis: string | null;
  final: string | null;
  tokenIds: readonly number[];
  promptIds: readonly number[];
}

/** Says an answer over HTTP: in one piece, or as server-sent events while it is written. */
export class AnswerWriter {
  readonly #response: ServerResponse;
  readonly #request: ChatRequest;
  readonly #identity: Identity;
  #hasBegun = false;

  constructor(response: ServerResponse, request: ChatRequest, identity: Identity) {
    this.#response = response;
    this.#request = request;
    this.#identity = identity;
  }

  /** One more token; `delta` is the text that it made known, if any. */
  token(id: number, delta: ChannelDelta | undefined): void {
    if (!this.#request.isStreamed) return;
    const text = delta === undefined ? {} : textFields(delta);
    if (Object.keys(text).length === 0 && !this.#request.hasTokenIds) return;
    this.#event({
      choices: [
        {
          index: 0,
          delta: { ...(this.#hasBegun ? {} : { role: 'assistant' }), ...text },
          finish_reason: null,
          ...(this.#request.hasTokenIds ? { token_ids: [id] } : {}),
        },
      ],
    });
  }

  end(ending: Ending): void {
    if (this.#request.isStreamed) this.#endStream(ending);
    else this.#sendWhole(ending);
  }

  /** After the first byte only breaking off can tell the client. */
  fail(status: number, message: string): void {
    if (this.#hasBegun) this.#response.destroy();
    else sendError(this.#response, status, message);
  }

  #endStream(ending: Ending): void {
    this.#event({ choices: [{ index: 0, delta: {}, finish_reason: ending.finishReason }] });
    if (this.#request.hasUsageEvent) this.#event({ choices: [], usage: usageOf(ending) });
    this.#response.end('data: [DONE]\n\n');
  }

  #sendWhole(ending: Ending): void {
    const { analysis, final, finishReason, tokenIds, promptIds } = ending;
    const content = final === null ? null : stopIn(final, this.#request.stop);
    const choice = {
      index: 0,
      message: { role: 'assistant', content, reasoning: analysis, reasoning_content: analysis },
      finish_reason: finishReason,
      ...(this.#request.hasTokenIds ? { token_ids: tokenIds } : {}),
    };
    sendJson(this.#response, 200, {
      ...this.#head('chat.completion'),
      choices: [choice],
      usage: usageOf(ending),
      ...(this.#request.hasTokenIds ? { prompt_token_ids: promptIds } : {}),
    });
  }

  #event(fields: object): void {
    if (!this.#hasBegun) {
      this.#response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
      this.#hasBegun = true;
    }
    this.#response.write(
      `data: ${JSON.stringify({ ...this.#head('chat.completion.chunk'), ...fields })}\n\n`,
    );
  }

  #head(object: string): object {
    const { id, created, model } = this.#identity;
    return { id, object, created, model };
  }
}

/** Servers call the analysis channel `reasoning_content` or `reasoning`; clients read one of them. */
function textFields({ channel, text }: ChannelDelta): Record<string, string> {
  if (channel === 'analysis') return { reasoning: text, reasoning_content: text };
  return channel === 'final' ? { content: text } : {};
}

function usageOf({ promptIds, tokenIds }: Ending): object {
  return {
    prompt_tokens: promptIds.length,
    completion_tokens: tokenIds.length,
    total_tokens: promptIds.length + tokenIds.length,
  };
}

export function sendJson(response: ServerResponse, status: number, document: object): void {
  const text = JSON.stringify(document);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** OpenAI's form of an error; a server that is full says when to come again. */
export function sendError(response: ServerResponse, status: number, message: string): void {
  if (status === 429) response.setHeader('retry-after', '1');
  const type = status < 500 ? 'invalid_request_error' : 'server_error';
  sendJson(response, status, { error: { message, type, code: status } });
}
