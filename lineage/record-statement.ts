import { Failure } from '../core/errors.ts';
import { stageKey } from '../core/keys.ts';
import type { StoredRecord } from '../store/store.ts';
import { readRecordPredicate } from './read-record.ts';
import type { RecordPredicate } from './record.ts';
import { sha256Text } from './sha256.ts';
import { parseStatement, writeStatement, type Subject } from './statement.ts';

/** Subjects are the outputs by name; a record without outputs is about its key document. */
export function writeRecord(predicate: RecordPredicate): string {
  const outputs = Object.entries(predicate.outputs).map(([name, { digest }]): Subject => ({ name, digest }));
  const subjects = outputs.length > 0 ? outputs : [{ name: 'key-document', digest: predicate.key }];
  return writeStatement('record', subjects, predicate);
}

/** CORRUPT unless it is a record of the key under which it is stored, and its key document has that key. */
export function parseRecord(
  stored: Pick<StoredRecord, 'key' | 'domain' | 'generation' | 'envelope'>,
): RecordPredicate {
  const where = recordName(stored);
  const predicate = parseRecordText(stored.envelope, where);
  if (predicate.key === stored.key) return predicate;
  throw new Failure('CORRUPT', `${where}: its key document has ${predicate.key}`);
}

/** For people: `record local/sha256:.../1`. */
export function recordName({
  domain,
  key,
  generation,
}: Pick<StoredRecord, 'key' | 'domain' | 'generation'>): string {
  return `record ${domain}/${key}/${generation}`;
}

/** CORRUPT unless its key is that of its own key document, and its outputs are what it is about. */
export function parseRecordText(text: string, where: string): RecordPredicate {
  const { predicate, subjects } = parseStatement(text, { name: 'record', read: readRecordPredicate, where });
  const made = stageKey(predicate.document, sha256Text);
  if (predicate.key !== made) {
    throw new Failure(
      'CORRUPT',
      `${where}: says that it is of ${predicate.key}; its key document has ${made}`,
    );
  }
  for (const [name, { digest }] of Object.entries(predicate.outputs)) {
    if (!subjects.some((subject) => subject.name === name && subject.digest === digest)) {
      throw new Failure('CORRUPT', `${where}: output ${name} is not a subject of the statement`);
    }
  }
  return predicate;
}
