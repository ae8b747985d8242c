import type { Client } from '@temporalio/client';
import type { LiveView } from './live-view.ts';
import { findPoolWait } from './stage-now.ts';

const lookMs = 3000;

/** Tells a view, every few seconds, which stages wait for a worker of their pool. */
export class PoolWaits {
  readonly #view: Pick<LiveView, 'running' | 'setWait'>;
  readonly #own: ReadonlySet<string>;
  #lookedAt = 0;

  /** `own`: pools that need no worker of their own. */
  constructor(view: Pick<LiveView, 'running' | 'setWait'>, own: ReadonlySet<string>) {
    this.#view = view;
    this.#own = own;
  }

  async look(client: Client): Promise<void> {
    if (Date.now() - this.#lookedAt < lookMs) return;
    this.#lookedAt = Date.now();
    const asked = this.#view.running.filter(({ pool }) => !this.#own.has(pool));
    await Promise.all(
      asked.map(async (stage) => {
        // A stage that has just ended is not found; a server that is away is found again by others.
        const wait = await findPoolWait(client, stage).catch(() => undefined);
        this.#view.setWait(stage.name, wait);
      }),
    );
  }
}
