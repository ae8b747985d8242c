/** SIGTERM and Ctrl-C as an AbortSignal, while it is open. */
export class StopSignals {
  readonly #controller = new AbortController();
  readonly #stop = (): void => {
    this.#controller.abort();
  };

  constructor() {
    process.on('SIGTERM', this.#stop);
    process.on('SIGINT', this.#stop);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  close(): void {
    process.off('SIGTERM', this.#stop);
    process.off('SIGINT', this.#stop);
  }
}
