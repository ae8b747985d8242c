import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { randomInt, randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { isFailure } from '../../core/errors.ts';
import { BatchDecoder } from '../onnx/batch-decoder.ts';
import type { ExecutionProvider } from '../onnx/decoder-graph.ts';
import { openOnnxModel, type OnnxModel } from '../onnx/onnx-model.ts';
import { tokenPicker } from '../onnx/pick-token.ts';
import { AnswerWriter, sendError, sendJson, type Identity } from './answer-writer.ts';
import { parseChatRequest, RequestError, type ChatDefaults, type ChatRequest } from './chat-request.ts';
import { parseCompletionRequest, type CompletionRequest } from './completion-request.ts';
import { HarmonyStream } from './harmony-stream.ts';
import { ServingLoop } from './serving-loop.ts';
import { TokenCompletion } from './token-completion.ts';

export interface ServerOptions {
  /** An artifact of type `onnx`. */
  folder: string;
  /** What clients ask for as `model`. */
  name: string;
  /** Digest of the artifact that is served; /v1/models tells it. */
  digest: string;
  host: string;
  /** 0 takes a free one. */
  port: number;
  threads: number;
  /** CPU when absent. */
  provider?: ExecutionProvider;
  /** Answers in progress at once. */
  batchSize: number;
  /** Requests that wait beyond the batch; a further one is told to come again (429). */
  queueSize: number;
  /** Cap of an answer whose request names none, in tokens. */
  maxNewTokens: number;
}

export interface OpenAiServer {
  url: string;
  close(): Promise<void>;
}

const largestBodyBytes = 8 * 2 ** 20;

/**
 * The ONNX runner behind OpenAI's chat completions: streaming, `reasoning_effort`, usage counts, requests decoded
 * together as they come. Reasoning comes as `reasoning` and `reasoning_content`, raw ids by `return_token_ids`, as vLLM gives them.
 * Completions take and give token ids, with log probabilities: what `generate` asks for with the rollout engine `server`.
 */
export async function startServer(options: ServerOptions): Promise<OpenAiServer> {
  const model = await openOnnxModel(options.folder, options);
  const { stopIds, graph } = model;
  const decoder = new BatchDecoder(graph, { stopIds, batchSize: options.batchSize, admitAtShareFree: 0 });
  const served = new Served(model, new ServingLoop(decoder), options);
  const server = createServer((request, response) => void served.handle(request, response));
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${options.host}:${port}`,
    close: async () => {
      await new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      });
      await graph.close();
    },
  };
}

async function listen(server: Server, { host, port }: ServerOptions): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

class Served {
  readonly #model: OnnxModel;
  readonly #loop: ServingLoop;
  readonly #options: ServerOptions;
  readonly #startedSeconds = Math.floor(Date.now() / 1000);

  constructor(model: OnnxModel, loop: ServingLoop, options: ServerOptions) {
    this.#model = model;
    this.#loop = loop;
    this.#options = options;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#route(request, response);
    } catch (error) {
      if (error instanceof RequestError) sendError(response, error.status, error.message);
      else sendError(response, 500, isFailure(error) ? `${error.code}: ${error.message}` : String(error));
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = `${request.method ?? ''} ${(request.url ?? '').split('?')[0] ?? ''}`;
    switch (path) {
      case 'GET /health':
        sendJson(response, 200, {});
        return;
      case 'GET /version':
        sendJson(response, 200, { version: 'fretsaw', engine: 'onnxruntime-node' });
        return;
      case 'GET /v1/models':
        sendJson(response, 200, { object: 'list', data: [this.#card()] });
        return;
      case 'POST /v1/chat/completions':
        this.#chat(this.#parse(parseChatRequest, await readBody(request)), response);
        return;
      case 'POST /v1/completions':
        this.#complete(this.#parse(parseCompletionRequest, await readBody(request)), response);
        return;
      default:
        throw new RequestError(
          404,
          `${path}: there is POST /v1/chat/completions, POST /v1/completions and GET /v1/models`,
        );
    }
  }

  #card(): object {
    const { name, digest } = this.#options;
    return {
      id: name,
      object: 'model',
      created: this.#startedSeconds,
      owned_by: 'fretsaw',
      root: digest,
      max_model_len: this.#model.contextTokens,
      fretsaw: { digest },
    };
  }

  #parse<Request>(parse: (body: string, defaults: ChatDefaults) => Request, body: string): Request {
    const { maxNewTokens, queueSize } = this.#options;
    const seed = (): number => randomInt(2 ** 32);
    const request = parse(body, { maxNewTokens, seed });
    if (this.#loop.waitingCount >= queueSize) throw new RequestError(429, 'the queue is full');
    return request;
  }

  #chat(request: ChatRequest, response: ServerResponse): void {
    const { prompts } = this.#model;
    const promptIds = prompts.encode(request.messages, request.effort);
    this.#requireRoom(promptIds.length, request.maxNewTokens);
    const writer = new AnswerWriter(response, request, this.#identity('chatcmpl'));
    const stream = new HarmonyStream(prompts.harmony, (ids) => prompts.decode(ids));
    const tokenIds: number[] = [];
    let final = '';
    let isStopped = false;
    const end = (isCapped: boolean): void => {
      const { analysis, final: whole } = prompts.parse(tokenIds);
      writer.end({
        finishReason: isCapped ? 'length' : 'stop',
        analysis,
        final: isStopped ? final : whole,
        tokenIds,
        promptIds,
      });
    };
    this.#loop.submit({
      promptIds,
      pick: tokenPicker(request.decoding, 'request'),
      maxNewTokens: request.maxNewTokens,
      ignoresEnd: request.ignoresEnd,
      onToken: (id) => {
        tokenIds.push(id);
        const delta = stream.add(id);
        if (delta?.channel === 'final') final += delta.text;
        isStopped = request.stop.some((stop) => final.includes(stop));
        if (isStopped) end(false);
        else writer.token(id, delta);
      },
      onEnd: (isCapped) => {
        if (!isStopped) end(isCapped);
      },
      onFail: (error) => {
        writer.fail(500, String(error));
      },
      isCancelled: () => isStopped || response.destroyed,
    });
  }

  #complete(request: CompletionRequest, response: ServerResponse): void {
    const { prompts, graph, stopIds } = this.#model;
    const { promptIds, maxNewTokens, ignoresEnd } = request;
    this.#requireRoom(promptIds.length, maxNewTokens);
    const unknown = promptIds.find((id) => id < 0 || id >= graph.shape.vocabSize);
    if (unknown !== undefined) throw new RequestError(400, `prompt: there is no token ${unknown}`);
    const other = request.stopIds.find((id) => !stopIds.has(id));
    if (other !== undefined)
      throw new RequestError(400, `stop_token_ids: ${other} does not end an answer of this model`);
    const completion = new TokenCompletion(request, this.#identity('cmpl'));
    this.#loop.submit({
      ...{ promptIds, maxNewTokens, ignoresEnd },
      pick: completion.pick(tokenPicker(request.decoding, 'request')),
      onToken: () => undefined,
      onEnd: (isCapped) => {
        completion.send(response, { isCapped, decode: (ids) => prompts.decode(ids) });
      },
      onFail: (error) => {
        completion.fail(response, error);
      },
      isCancelled: () => response.destroyed,
    });
  }

  #identity(kind: string): Identity {
    const created = Math.floor(Date.now() / 1000);
    return { id: `${kind}-${randomUUID()}`, model: this.#options.name, created };
  }

  #requireRoom(promptCount: number, maxNewTokens: number): void {
    const { contextTokens } = this.#model;
    if (promptCount + maxNewTokens <= contextTokens) return;
    const asked = `${promptCount} prompt tokens and ${maxNewTokens} more`;
    throw new RequestError(400, `${asked} are beyond the context of ${contextTokens}`);
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > largestBodyBytes)
      throw new RequestError(413, `a request has at most ${largestBodyBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
