/**
 * Work that is begun again and again beside a loop that must not wait for it. One round at a time; what
 * a round failed with is thrown where the next one is to begin.
 */
export class BackgroundWork {
  readonly #round: () => Promise<void>;
  #underway: Promise<void> | undefined;
  #failure: { error: unknown } | undefined;

  constructor(round: () => Promise<void>) {
    this.#round = round;
  }

  /** Begins a round unless one is under way. */
  begin(): void {
    this.#throwFailure();
    this.#underway ??= this.#round()
      .catch((error: unknown) => {
        this.#failure = { error };
      })
      .finally(() => {
        this.#underway = undefined;
      });
  }

  /** Waits for the round that is under way, if any. */
  async settle(): Promise<void> {
    await this.#underway;
    this.#throwFailure();
  }

  #throwFailure(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
  }
}
