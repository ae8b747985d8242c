import type { StageKey } from '../core/keys.ts';
import { listAttempts } from '../lineage/attempt.ts';
import type { ActivityDeps } from './deps.ts';

export interface SpentRequest {
  run: string;
  /** Stages that this run has waited for, with the GPUs that each holds. */
  stages: readonly { key: StageKey; gpus: number }[];
}

const hour = 3_600_000;

/**
 * GPU hours that this run has caused so far: attempts that it was the first to want, those at work
 * until now. What it shares with an earlier run is that run's.
 */
export async function measureSpent({ store }: ActivityDeps, { run, stages }: SpentRequest): Promise<number> {
  let spent = 0;
  for (const { key, gpus } of stages) {
    const attempts = await listAttempts(store.documents, key);
    for (const attempt of attempts.filter((one) => one.run === run)) {
      const ms = Date.parse(attempt.finishedAt) - Date.parse(attempt.startedAt);
      spent += (Math.max(0, ms) / hour) * Number(attempt.resources['gpus'] ?? 0);
    }
    const lease = await store.leases.latest(key);
    const isAtWork = lease?.holder.run === run && attempts.every(({ attempt }) => attempt < lease.attempt);
    if (isAtWork) spent += (Math.max(0, Date.now() - Date.parse(lease.createdAt)) / hour) * gpus;
  }
  return spent;
}
