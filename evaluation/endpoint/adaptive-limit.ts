/**
 * How many requests may be open at once: one more for each full round that went well, half as many when the
 * server says that it is full or fails (additive increase, multiplicative decrease; RFC 5681 section 3.1).
 */
export class AdaptiveLimit {
  readonly #most: number;
  #limit: number;
  #wellSinceRise = 0;

  constructor(first: number, most: number) {
    this.#most = Math.max(1, most);
    this.#limit = Math.min(Math.max(1, first), this.#most);
  }

  get value(): number {
    return this.#limit;
  }

  wentWell(): void {
    this.#wellSinceRise++;
    if (this.#wellSinceRise < this.#limit) return;
    this.#wellSinceRise = 0;
    this.#limit = Math.min(this.#most, this.#limit + 1);
  }

  wasFull(): void {
    this.#wellSinceRise = 0;
    this.#limit = Math.max(1, Math.floor(this.#limit / 2));
  }
}
