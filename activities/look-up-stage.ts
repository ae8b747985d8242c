import type { StageKey } from '../core/keys.ts';
import type { Store } from '../store/store.ts';
import type { ActivityDeps } from './deps.ts';
import { parseRecord } from '../lineage/record-statement.ts';
import type { Outputs, StageRequest } from './stage-request.ts';

/**
 * What the store has under a key, if every byte of it is still there. A record whose bytes are gone
 * is a miss: the stage runs again and its new record says what was lost.
 */
export async function findRecord(store: Store, key: StageKey, generation = 1): Promise<Outputs | undefined> {
  const record = await store.records.latest(key);
  if (record === undefined || record.generation < generation) return undefined;
  const outputs = parseRecord(record).outputs;
  for (const ref of Object.values(outputs)) {
    if ((await store.artifacts.missing(ref.digest)).length > 0) return undefined;
  }
  return outputs;
}

/** The first act of `run-stage`: somebody else may have finished it in the meantime. */
export async function lookUpStage(deps: ActivityDeps, request: StageRequest): Promise<Outputs | undefined> {
  return await findRecord(deps.store, request.key, request.recompute?.generation);
}
