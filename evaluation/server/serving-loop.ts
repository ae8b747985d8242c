import type { BatchDecoder, DecodeJob } from '../onnx/batch-decoder.ts';

/** A job that is told too when the model itself fails. */
export interface ServedJob extends DecodeJob {
  onFail(error: unknown): void;
}

/** Steps a decoder for as long as there is something to decode; requests join and leave between two tokens. */
export class ServingLoop {
  readonly #decoder: BatchDecoder;
  readonly #open = new Set<ServedJob>();
  #isRunning = false;

  constructor(decoder: BatchDecoder) {
    this.#decoder = decoder;
  }

  get waitingCount(): number {
    return this.#decoder.waitingCount;
  }

  submit(job: ServedJob): void {
    this.#open.add(job);
    this.#decoder.add({
      ...job,
      onEnd: (isCapped) => {
        this.#open.delete(job);
        job.onEnd(isCapped);
      },
    });
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (!this.#decoder.isIdle) {
      try {
        await this.#decoder.step();
      } catch (error) {
        this.#decoder.clear();
        for (const job of this.#open) job.onFail(error);
        this.#open.clear();
      }
      for (const job of this.#open) if (job.isCancelled?.() === true) this.#open.delete(job);
    }
    this.#isRunning = false;
  }
}
