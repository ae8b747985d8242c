import { condition } from '@temporalio/workflow';
import type { RunRequest } from '../activities/run-request.ts';

/** Share of a budget at which people are told. */
const toldAt = 0.8;
const shortestMs = 1000;
const hourMs = 3_600_000;

export interface BudgetHooks {
  /** GPUs that the run's stages hold now. */
  gpusAtWork: () => number;
  /** GPU hours so far. */
  measure: () => Promise<number>;
  tell: (message: string) => void;
  /** The budget is used up. */
  stop: (message: string) => void;
}

/**
 * Watches the GPU hours of a run. It looks only when a limit can have been reached at the rate at
 * which GPUs are held, so that a run of weeks costs a handful of timers.
 */
export class RunBudget {
  readonly #limit: number;
  readonly #hooks: BudgetHooks;
  #isTold: boolean;

  constructor(request: RunRequest, hooks: BudgetHooks) {
    this.#limit = request.budget?.gpu_hours ?? Infinity;
    this.#hooks = hooks;
    this.#isTold = request.control?.isBudgetTold ?? false;
  }

  get isTold(): boolean {
    return this.#isTold;
  }

  /** Until the budget is used up, or for ever: its scope is cancelled with the run. */
  async watch(): Promise<void> {
    if (this.#limit === Infinity) return;
    for (;;) {
      await condition(() => this.#hooks.gpusAtWork() > 0);
      const spent = await this.#hooks.measure();
      const text = `${spent.toFixed(2)} of ${this.#limit} GPU hours`;
      if (spent >= this.#limit) {
        this.#hooks.stop(text);
        return;
      }
      if (spent >= toldAt * this.#limit && !this.#isTold) {
        this.#isTold = true;
        this.#hooks.tell(text);
      }
      const next = this.#isTold ? this.#limit : toldAt * this.#limit;
      const gpus = this.#hooks.gpusAtWork();
      const waitMs = gpus === 0 ? shortestMs : Math.max(shortestMs, ((next - spent) / gpus) * hourMs);
      await condition(() => this.#hooks.gpusAtWork() > gpus, waitMs);
    }
  }
}
