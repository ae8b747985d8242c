import type { DecoderGraph, StepOutput } from './decoder-graph.ts';
import { KvCache } from './kv-cache.ts';
import type { PickToken } from './pick-token.ts';

/** One answer to be written, and who is told of it. */
export interface DecodeJob {
  promptIds: readonly number[];
  pick: PickToken;
  maxNewTokens: number;
  /** Go on past tokens that end an answer. */
  ignoresEnd: boolean;
  onToken(id: number): void;
  /** Called once, after the last token; `isCapped` when `maxNewTokens` ended it. */
  onEnd(isCapped: boolean): void;
  /** Asked after each token: an answer that nobody waits for leaves the batch. */
  isCancelled?(): boolean;
}

export interface BatchDecoderOptions {
  stopIds: ReadonlySet<number>;
  /** Answers in progress at once. */
  batchSize: number;
  /** Share of the batch that must be free before new prompts are read; 0 reads them at once. */
  admitAtShareFree: number;
}

interface Active {
  job: DecodeJob;
  lastId: number;
  tokens: number;
}

/** Batches without end: a row whose answer has ended is given to the next job, and closed up when none is left. */
export class BatchDecoder {
  readonly #graph: DecoderGraph;
  readonly #options: BatchDecoderOptions;
  readonly #waiting: DecodeJob[] = [];
  readonly #active: Active[] = [];
  #cache: KvCache;

  constructor(graph: DecoderGraph, options: BatchDecoderOptions) {
    this.#graph = graph;
    this.#options = options;
    this.#cache = new KvCache(graph.shape, options.batchSize);
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#active.length === 0;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  get activeCount(): number {
    return this.#active.length;
  }

  /** Jobs are begun in the order in which they are added. */
  add(job: DecodeJob): void {
    this.#waiting.push(job);
  }

  /** Drops everything, told or not. */
  clear(): void {
    this.#waiting.length = 0;
    this.#active.length = 0;
    this.#cache = new KvCache(this.#graph.shape, this.#options.batchSize);
  }

  /** Reads new prompts, or writes one more token in every row; returns how many tokens were written. */
  async step(): Promise<number> {
    const { batchSize, admitAtShareFree } = this.#options;
    const free = batchSize - this.#active.length;
    const admits = this.#active.length === 0 || (free > 0 && free >= batchSize * admitAtShareFree);
    const admitted = admits ? this.#takeWaiting(free) : [];
    if (admitted.length > 0) return await this.#admit(admitted);
    return this.#active.length === 0 ? 0 : await this.#advance();
  }

  #takeWaiting(count: number): DecodeJob[] {
    const taken: DecodeJob[] = [];
    while (taken.length < count) {
      const job = this.#waiting.shift();
      if (job === undefined) break;
      if (job.isCancelled?.() !== true) taken.push(job);
    }
    return taken;
  }

  /** Reads new prompts, padded on the right, and writes the first token of each answer. */
  async #admit(admitted: readonly DecodeJob[]): Promise<number> {
    // Buffers grow and never shrink: a batch that starts from nothing starts small.
    if (this.#active.length === 0) this.#cache = new KvCache(this.#graph.shape, this.#options.batchSize);
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
    const pasts = this.#cache.emptyPasts(admitted.length);
    const output = await this.#graph.step({ tokenIds, positions, rows: admitted.length, lengths, pasts });
    const first = this.#active.length;
    for (const [row, job] of admitted.entries()) {
      this.#cache.addRow(output.newKv, { from: row, length: job.promptIds.length, step });
      this.#active.push({ job, lastId: 0, tokens: 0 });
    }
    return this.#write((row) => {
      const at = row - first;
      return at < 0 ? undefined : this.#logitsAt(output, at * step + (last[at] ?? 0));
    });
  }

  /** One more token for every row. */
  async #advance(): Promise<number> {
    const output = await this.#graph.step({
      tokenIds: BigInt64Array.from(this.#active, ({ lastId }) => BigInt(lastId)),
      positions: BigInt64Array.from(this.#active, (_, row) => BigInt(this.#cache.lengthOf(row))),
      rows: this.#active.length,
      lengths: this.#cache.lengths(),
      pasts: this.#cache.pasts(),
    });
    this.#cache.append(output.newKv);
    return this.#write((row) => this.#logitsAt(output, row));
  }

  /** Adds a token to every row that has logits; finished rows leave, the last row taking their place. */
  #write(logitsOf: (row: number) => Float32Array | undefined): number {
    let written = 0;
    for (let row = this.#active.length - 1; row >= 0; row--) {
      const answer = this.#active[row];
      const logits = logitsOf(row);
      if (answer === undefined || logits === undefined) continue;
      written++;
      if (!this.#writeRow(answer, logits)) continue;
      this.#cache.removeRow(row);
      const moved = this.#active.pop();
      if (moved !== undefined && moved !== answer) this.#active[row] = moved;
    }
    return written;
  }

  /** True when the answer has ended. */
  #writeRow(answer: Active, logits: Float32Array): boolean {
    const { job } = answer;
    const id = job.pick(logits);
    answer.lastId = id;
    answer.tokens++;
    job.onToken(id);
    const isEnded = !job.ignoresEnd && this.#options.stopIds.has(id);
    if (isEnded || answer.tokens >= job.maxNewTokens) {
      job.onEnd(!isEnded);
      return true;
    }
    return job.isCancelled?.() === true;
  }

  #logitsAt({ logits }: StepOutput, index: number): Float32Array {
    const { vocabSize } = this.#graph.shape;
    return logits.subarray(index * vocabSize, (index + 1) * vocabSize);
  }
}
