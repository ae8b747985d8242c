import { Failure } from '../core/errors.ts';
import type { KeyDocument, StageKey } from '../core/keys.ts';
import type { Store, StoredRecord } from '../store/store.ts';
import { lookUp } from './look-up.ts';
import { writeKeyDocument } from './publish.ts';
import type { RecordPredicate } from './record.ts';
import { writeRecord } from './record-statement.ts';

export interface Acceptance {
  /** The record whose outputs are to count. */
  from: StageKey;
  /** What they are to count for. */
  document: KeyDocument;
  stage: string;
  run: string;
  by: string;
  reason: string;
  at: string;
}

/**
 * Takes the outputs of one key for another by a person's word: a record that says whose they are, who
 * said so and why. BAD_INPUT when they cannot stand for it (another kind, other outputs, bytes gone).
 */
export async function acceptRecord(store: Store, acceptance: Acceptance): Promise<StoredRecord> {
  const { from, document, stage, run, by, reason, at } = acceptance;
  const old = await lookUp(store, from);
  if (old.kind !== 'hit')
    throw new Failure('BAD_INPUT', `${from}: ${old.kind === 'none' ? 'there is no record' : old.reason}`);
  if (old.predicate.document.kind !== document.kind) {
    throw new Failure(
      'BAD_INPUT',
      `expected a record of kind ${document.kind}, found ${old.predicate.document.kind}`,
    );
  }
  const key = await writeKeyDocument(store, document);
  if (key === from) throw new Failure('BAD_INPUT', `${stage} asks for the very key of that record`);
  const standing = await lookUp(store, key);
  if (standing.kind === 'hit')
    throw new Failure('BAD_INPUT', `${stage} has a record already: generation ${standing.record.generation}`);
  const generation = (standing.kind === 'none' ? 0 : standing.record.generation) + 1;
  const predicate: RecordPredicate = {
    schema: 'fretsaw/record/v1',
    ...{ key, document, stage, run },
    outputs: old.predicate.outputs,
    attempts: [],
    accepted: { key: from, domain: old.record.domain, generation: old.record.generation, by, reason, at },
    ...(standing.kind === 'none'
      ? {}
      : { supersedes: { generation: standing.record.generation, reason: `accept: ${reason}` } }),
  };
  const { created, record } = await store.records.create(key, generation, writeRecord(predicate));
  if (!created) throw new Failure('BAD_INPUT', `${stage} was given a record by somebody else just now`);
  return record;
}
