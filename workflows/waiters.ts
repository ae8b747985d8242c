/** The runs that wait for one stage, and which of them want it later. */
export class Waiters {
  readonly #runs = new Map<string, 'now' | 'later'>();

  constructor(first: string) {
    this.#runs.set(first, 'now');
  }

  get names(): string[] {
    return [...this.#runs.keys()];
  }

  get isEmpty(): boolean {
    return this.#runs.size === 0;
  }

  /** Somebody wants it now. */
  get isWanted(): boolean {
    return [...this.#runs.values()].includes('now');
  }

  /** Joining again changes nothing: a run that has paused stays so. */
  join(run: string): void {
    if (!this.#runs.has(run)) this.#runs.set(run, 'now');
  }

  leave(run: string): void {
    this.#runs.delete(run);
  }

  pause(run: string): void {
    if (this.#runs.has(run)) this.#runs.set(run, 'later');
  }

  resume(run: string): void {
    if (this.#runs.has(run)) this.#runs.set(run, 'now');
  }
}
