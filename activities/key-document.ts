import { hexOf } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import type { KeyDocument, StageKey } from '../core/keys.ts';
import { readKeyDocument as parseKeyDocument } from '../lineage/read-record.ts';
import type { Store } from '../store/store.ts';

/** What a key asks for; written when the key was made. */
export async function readKeyDocument({ documents }: Store, key: StageKey): Promise<KeyDocument> {
  const where = `keys/${hexOf(key)}`;
  const text = await documents.read(where);
  if (text === undefined) throw new Failure('NOT_FOUND', `the store has no key document ${key}`);
  return parseKeyDocument(JSON.parse(text), where);
}
