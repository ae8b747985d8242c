import { Failure } from '../core/errors.ts';

/**
 * This host's CPUs, lent to jobs by the activities of one worker: first come, first served. A user's
 * command counts for half a CPU, since most of one is waiting for files and processes.
 */
export class CpuSlots {
  readonly #total: number;
  #free: number;
  readonly #queue: { need: number; start: () => void }[] = [];

  constructor(cpus: number) {
    this.#total = cpus;
    this.#free = cpus;
  }

  /**
   * Resolves to the function that gives the CPUs back; rejects when `signal` is aborted first. A job
   * that wants more than there are gets all.
   */
  async take(cpus: number, signal: AbortSignal): Promise<() => void> {
    const need = Math.min(cpus, this.#total);
    await new Promise<void>((start, reject) => {
      const entry = { need, start };
      this.#queue.push(entry);
      signal.addEventListener(
        'abort',
        () => {
          const at = this.#queue.indexOf(entry);
          if (at >= 0) this.#queue.splice(at, 1);
          reject(new Failure('PREEMPTED', 'stopped before it was started'));
        },
        { once: true },
      );
      this.#serve();
    });
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      this.#free += need;
      this.#serve();
    };
  }

  #serve(): void {
    for (let next = this.#queue[0]; next !== undefined && next.need <= this.#free; next = this.#queue[0]) {
      this.#queue.shift();
      this.#free -= next.need;
      next.start();
    }
  }
}

export const commandCpus = 0.5;
