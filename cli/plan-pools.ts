import type { Plan } from '../compiler/plan.ts';
import type { Resolution } from '../compiler/resolve.ts';
import { homePaths } from '../workers/home.ts';
import { isFleet, ownPoolsOf } from '../workers/worker-settings.ts';
import type { Invocation } from './command.ts';
import { liveRuns } from './live-states.ts';

export interface PlannedPool {
  pool: string;
  /** What would or may run in it. */
  stages: string[];
  /** Workers that serve it now; null when there is no server to ask. */
  workers: number | null;
}

/** Pools of other hosts that a run would need, and whether anybody serves them now. */
export async function planPools(
  plan: Plan,
  resolution: Resolution,
  invocation: Invocation,
): Promise<PlannedPool[]> {
  const hits = new Set(resolution.stages.filter(({ state }) => state === 'hit').map(({ name }) => name));
  const own = ownPoolsOf({ isShared: isFleet(invocation.env) });
  const stages = new Map<string, string[]>();
  for (const { name, pool } of plan.stages) {
    if (own.has(pool) || hits.has(name)) continue;
    stages.set(pool, [...(stages.get(pool) ?? []), name]);
  }
  if (stages.size === 0) return [];
  const live = await liveRuns(invocation, homePaths(invocation.env, invocation.cwd));
  try {
    return await Promise.all(
      [...stages].map(async ([pool, names]) => ({
        pool,
        stages: names,
        workers: (await live.pollers(pool)) ?? null,
      })),
    );
  } finally {
    await live.close();
  }
}

export function poolsText(pools: readonly PlannedPool[]): string {
  return pools
    .map(({ pool, stages, workers }) => {
      const asked = `asked for by ${stages.length === 1 ? (stages[0] ?? '') : `${stages.length} stages`}`;
      return `pool ${pool}: ${asked}; ${servedText(workers)}\n`;
    })
    .join('');
}

function servedText(workers: number | null): string {
  if (workers === null) return 'no Temporal server is at work to ask who serves it';
  if (workers === 0) return 'nobody serves it now';
  return workers === 1 ? '1 worker serves it' : `${workers} workers serve it`;
}
