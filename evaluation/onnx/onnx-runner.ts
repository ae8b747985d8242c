import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../../core/errors.ts';
import { ChatPrompts } from '../chat-prompts.ts';
import { JsonFields } from '../json-fields.ts';
import type { AnswerRequest, GenerateOptions, ModelAnswer, ModelRunner } from '../model-runner.ts';
import { DecoderGraph, type StepOutput } from './decoder-graph.ts';
import { KvCache } from './kv-cache.ts';
import { tokenPicker, type PickToken } from './pick-token.ts';

export interface OnnxRunnerOptions {
  threads: number;
  /** Answers in progress at once. */
  batchSize: number;
}

interface Pending {
  request: AnswerRequest;
  promptIds: number[];
}

interface Active {
  request: AnswerRequest;
  pick: PickToken;
  tokenIds: number[];
}

/**
 * An exported model in this process. Batches are continuous: a row whose answer has ended is given to the next
 * question as soon as a quarter of the batch is free, and closed up when none is left.
 */
export class OnnxRunner implements ModelRunner {
  readonly #graph: DecoderGraph;
  readonly #prompts: ChatPrompts;
  readonly #stopIds: ReadonlySet<number>;
  readonly #batchSize: number;

  private constructor(parts: {
    graph: DecoderGraph;
    prompts: ChatPrompts;
    stopIds: Set<number>;
    batchSize: number;
  }) {
    this.#graph = parts.graph;
    this.#prompts = parts.prompts;
    this.#stopIds = parts.stopIds;
    this.#batchSize = parts.batchSize;
  }

  /** `folder` is an artifact of type `onnx`. */
  static async open(folder: string, { threads, batchSize }: OnnxRunnerOptions): Promise<OnnxRunner> {
    const prompts = await ChatPrompts.open(folder);
    const stopIds = await readStopIds(folder, prompts);
    return new OnnxRunner({ graph: await DecoderGraph.open(folder, threads), prompts, stopIds, batchSize });
  }

  async generate(requests: readonly AnswerRequest[], options: GenerateOptions): Promise<void> {
    const waiting = this.#order(requests);
    const cache = new KvCache(this.#graph.shape, this.#batchSize);
    const active: Active[] = [];
    while (!options.shouldStop() && (waiting.length > 0 || active.length > 0)) {
      const free = this.#batchSize - active.length;
      const admitted = active.length === 0 || free * 4 >= this.#batchSize ? waiting.splice(0, free) : [];
      if (admitted.length > 0) await this.#admit(admitted, { cache, active, options });
      else await this.#advance({ cache, active, options });
    }
  }

  async close(): Promise<void> {
    await this.#graph.close();
  }

  /** The longest first, so that the last batch is not one slow row; within a cap prompts of like length together. */
  #order(requests: readonly AnswerRequest[]): Pending[] {
    return requests
      .map((request) => ({ request, promptIds: this.#prompts.encode(request.messages, request.effort) }))
      .sort(
        (a, b) => b.request.maxNewTokens - a.request.maxNewTokens || b.promptIds.length - a.promptIds.length,
      );
  }

  /** Reads new prompts, padded on the right, and writes the first token of each answer. */
  async #admit(admitted: readonly Pending[], { cache, active, options }: Progress): Promise<void> {
    const step = Math.max(...admitted.map(({ promptIds }) => promptIds.length));
    const tokenIds = new BigInt64Array(admitted.length * step);
    const positions = new BigInt64Array(admitted.length * step);
    for (const [row, { promptIds }] of admitted.entries()) {
      for (let at = 0; at < step; at++) {
        tokenIds[row * step + at] = BigInt(promptIds[at] ?? 0);
        positions[row * step + at] = BigInt(at);
      }
    }
    const last = Int32Array.from(admitted, ({ promptIds }) => promptIds.length - 1);
    const lengths = new Map(this.#graph.shape.windows.map((window) => [window, last]));
    const pasts = cache.emptyPasts(admitted.length);
    const output = await this.#graph.step({ tokenIds, positions, rows: admitted.length, lengths, pasts });
    const first = active.length;
    for (const [row, { request, promptIds }] of admitted.entries()) {
      cache.addRow(output.newKv, { from: row, length: promptIds.length, step });
      active.push({ request, pick: tokenPicker(options.decoding, request.id), tokenIds: [] });
    }
    this.#write({ cache, active, options }, (row) => {
      const at = row - first;
      return at < 0 ? undefined : this.#logitsAt(output, at * step + (last[at] ?? 0));
    });
  }

  /** One more token for every row. */
  async #advance({ cache, active, options }: Progress): Promise<void> {
    const output = await this.#graph.step({
      tokenIds: BigInt64Array.from(active, ({ tokenIds }) => BigInt(tokenIds.at(-1) ?? 0)),
      positions: BigInt64Array.from(active, (_, row) => BigInt(cache.lengthOf(row))),
      rows: active.length,
      lengths: cache.lengths(),
      pasts: cache.pasts(),
    });
    cache.append(output.newKv);
    this.#write({ cache, active, options }, (row) => this.#logitsAt(output, row));
  }

  /** Adds a token to every row that has logits; finished rows leave, the last row taking their place. */
  #write({ cache, active, options }: Progress, logitsOf: (row: number) => Float32Array | undefined): void {
    let written = 0;
    for (let row = active.length - 1; row >= 0; row--) {
      const answer = active[row];
      const logits = logitsOf(row);
      if (answer === undefined || logits === undefined) continue;
      const id = answer.pick(logits);
      answer.tokenIds.push(id);
      written++;
      const isEnded = answer.request.ignoresEnd !== true && this.#stopIds.has(id);
      if (!isEnded && answer.tokenIds.length < answer.request.maxNewTokens) continue;
      options.onAnswer(this.#finish(answer, !isEnded));
      cache.removeRow(row);
      const moved = active.pop();
      if (moved !== undefined && moved !== answer) active[row] = moved;
    }
    options.onTokens(written);
  }

  #finish({ request, tokenIds }: Active, isCapped: boolean): ModelAnswer {
    const { analysis, final } = this.#prompts.parse(tokenIds);
    return { id: request.id, tokenIds, tokens: tokenIds.length, analysis, final, isCapped, error: null };
  }

  #logitsAt({ logits }: StepOutput, index: number): Float32Array {
    const { vocabSize } = this.#graph.shape;
    return logits.subarray(index * vocabSize, (index + 1) * vocabSize);
  }
}

interface Progress {
  cache: KvCache;
  active: Active[];
  options: GenerateOptions;
}

/** Where an answer ends: `<|return|>`, and what generation_config.json lists. */
async function readStopIds(folder: string, prompts: ChatPrompts): Promise<Set<number>> {
  const path = join(folder, 'generation_config.json');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('BAD_INPUT', `${folder}: no generation_config.json`, { cause: error });
  });
  const fields = JsonFields.parse(text, path);
  const listed = Array.isArray(fields.raw('eos_token_id'))
    ? fields.integers('eos_token_id')
    : [fields.integer('eos_token_id', 0)];
  return new Set([prompts.harmony.return, ...listed]);
}
