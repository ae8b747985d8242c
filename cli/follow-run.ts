import { WorkflowFailedError, type Client, type WorkflowHandle } from '@temporalio/client';
import { CancelledFailure } from '@temporalio/common';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunChanges, RunRequest, RunSummary } from '../workflows/index.ts';
import { exitCodes } from './command.ts';
import type { LiveView } from './live-view.ts';
import { PoolWaits } from './pool-waits.ts';

export interface FollowedRun {
  id: string;
  client: Client;
  /** Pools that need no worker of their own. */
  ownPools: ReadonlySet<string>;
  handle: WorkflowHandle<(request: RunRequest) => Promise<RunSummary>>;
  /** Renews `client` and `handle` after the server was away. */
  reconnect: () => Promise<void>;
}

const lookMs = 500;

/** Shows a run until it ends. Ctrl-C asks it to stop and goes on showing; a second one leaves at once. */
export async function followRun(run: FollowedRun, view: LiveView): Promise<RunSummary> {
  let interrupts = 0;
  const interrupt = (): void => {
    if (++interrupts > 1) process.exit(exitCodes.interrupted);
    view.note('stopping: jobs take a last snapshot (Ctrl-C again leaves at once)');
    void run.handle.cancel().catch(() => undefined);
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  const waits = new PoolWaits(view, run.ownPools);
  try {
    for (let next = 0; ;) {
      const followed = await followConnected(run, { view, next, waits });
      if ('summary' in followed) return followed.summary;
      next = followed.next;
      await sleep(lookMs);
      await run.reconnect();
      if (interrupts > 0) void run.handle.cancel().catch(() => undefined);
    }
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

interface Following {
  view: LiveView;
  /** Number of the first change not yet seen. */
  next: number;
  waits: PoolWaits;
}

/** Until the run ends or the connection does. */
async function followConnected(
  run: FollowedRun,
  { view, next, waits }: Following,
): Promise<{ summary: RunSummary } | { next: number }> {
  let seen = next;
  const end = run.handle.result().then(
    (summary) => ({ summary }),
    (error: unknown) => ({ error }),
  );
  for (;;) {
    const first = await Promise.race([end, sleep(lookMs, undefined)]);
    if (first !== undefined && 'summary' in first) return first;
    if (first !== undefined) {
      if (first.error instanceof WorkflowFailedError) return { summary: endOf(run.id, first.error) };
      return { next: seen };
    }
    const changes = await changesSince(run, seen).catch(() => undefined);
    if (changes === undefined) continue;
    seen = changes.next;
    for (const [name, state] of changes.stages) view.set(name, state);
    await waits.look(run.client);
    view.draw();
  }
}

/** A continuation counts anew: what it has told by now is asked for from its beginning. */
async function changesSince({ handle }: FollowedRun, seen: number): Promise<RunChanges> {
  const changes = await handle.query<RunChanges, [number]>('changes', seen);
  return changes.next < seen ? await handle.query<RunChanges, [number]>('changes', 0) : changes;
}

/** A workflow that was terminated, or cancelled before its first task, has told nothing. */
function endOf(run: string, error: WorkflowFailedError): RunSummary {
  if (!(error.cause instanceof CancelledFailure)) throw error;
  return {
    run,
    state: 'cancelled',
    counts: { cached: 0, ran: 0, failed: 0, cancelled: 0, blocked: 0 },
    problems: [],
  };
}
