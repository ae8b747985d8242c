import { isFailure } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';
import type { Store, StoredRecord } from '../store/store.ts';
import type { RecordPredicate } from './record.ts';
import { parseRecord } from './record-statement.ts';

/** A hit is a record all of whose bytes are there. A miss with a record says why that one does not count. */
export type LookUp =
  | { kind: 'hit'; record: StoredRecord; predicate: RecordPredicate }
  | { kind: 'fallen'; record: StoredRecord; reason: string }
  | { kind: 'none' };

export async function lookUp(store: Store, key: StageKey): Promise<LookUp> {
  const record = await store.records.latest(key);
  return record === undefined ? { kind: 'none' } : judgeRecord(store, record);
}

async function judgeRecord(store: Store, record: StoredRecord): Promise<LookUp> {
  let predicate: RecordPredicate;
  try {
    predicate = parseRecord(record);
  } catch (error) {
    if (!isFailure(error, 'CORRUPT')) throw error;
    return { kind: 'fallen', record, reason: `corrupt record: ${error.message}` };
  }
  for (const [name, { digest }] of Object.entries(predicate.outputs)) {
    const missing = await store.artifacts.missing(digest);
    if (missing.length === 0) continue;
    const more = missing.length > 3 ? ` and ${missing.length - 3} more` : '';
    return {
      kind: 'fallen',
      record,
      reason: `lost bytes: ${name} lacks ${missing.slice(0, 3).join(', ')}${more}`,
    };
  }
  return { kind: 'hit', record, predicate };
}
