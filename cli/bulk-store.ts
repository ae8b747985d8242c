import type { Versions } from '../compiler/bind.ts';
import type { Plan } from '../compiler/plan.ts';
import type { Digest } from '../core/digest.ts';
import type { Store } from '../store/store.ts';
import { resolvePlan } from './resolve-plan.ts';

/**
 * A store that answers for a whole plan out of two questions, however long its chain of stages is: one
 * for all records, one for all bytes that these say are there. As of the moment it was made.
 */
export async function bulkStore(store: Store, plan: Plan, versions: Versions): Promise<Store> {
  const answers = await store.records.asOfNow();
  const records = { ...store.records, ...answers, asOfNow: async () => answers };
  const asked = new Set<Digest>();
  const believing: Store = {
    ...store,
    records,
    artifacts: {
      ...store.artifacts,
      missing: async (digest) => {
        asked.add(digest);
        return [];
      },
    },
  };
  await resolvePlan(plan, believing, versions);
  const gone = await store.artifacts.missingMany([...asked]);
  const missing: Store['artifacts']['missing'] = async (digest) =>
    gone.get(digest) ?? (await store.artifacts.missing(digest));
  return { ...store, records, artifacts: { ...store.artifacts, missing } };
}
