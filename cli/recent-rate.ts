const windowMs = 60_000;
const shortestMs = 2000;

/**
 * Steps a second over the last minute: what a stage does now, not what it did on the way (a drill
 * before longer rows, another stage beside it). A step that goes back, as after a retry, starts anew.
 */
export class RecentRate {
  #seen: { atMs: number; step: number }[] = [];

  /** Null until two seconds were seen. */
  see(step: number, atMs: number): number | null {
    const last = this.#seen.at(-1);
    if (last !== undefined && step < last.step) this.#seen = [];
    this.#seen.push({ atMs, step });
    // The oldest one kept is the last that is a whole window old.
    while ((this.#seen[1]?.atMs ?? Infinity) <= atMs - windowMs) this.#seen.shift();
    const [oldest] = this.#seen;
    if (oldest === undefined || atMs - oldest.atMs < shortestMs) return null;
    return ((step - oldest.step) * 1000) / (atMs - oldest.atMs);
  }
}
