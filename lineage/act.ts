import type { Digest } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import type { Documents } from '../store/store.ts';
import { readInstant, readOneOf, readPartObject, readText, type Read } from './read-json.ts';
import { readKey } from './read-record.ts';
import { parseStatement, writeStatement } from './statement.ts';

export const actKinds = ['pause', 'resume', 'cancel', 'approve', 'override'] as const;

/** What a person did to a run or a stage of it, and why: `acts/<run>/<id>`. */
export interface ActPredicate {
  schema: 'fretsaw/act/v1';
  run: string;
  id: string;
  act: (typeof actKinds)[number];
  /** Absent: the whole run. */
  stage?: string;
  /** What the stage asked for at that moment: an approval is of this and nothing else. */
  key?: StageKey;
  by: string;
  reason: string;
  at: string;
}

const readAct: Read<ActPredicate> = readPartObject(
  {
    schema: readOneOf(['fretsaw/act/v1']),
    run: readText,
    id: readText,
    act: readOneOf(actKinds),
    by: readText,
    reason: readText,
    at: readInstant,
  },
  { stage: readText, key: readKey },
);

/** About the stage's key document, or the plan of the run. Create-only: said twice is said once. */
export async function writeAct(documents: Documents, predicate: ActPredicate, plan: Digest): Promise<void> {
  const { key } = predicate;
  const subject = key === undefined ? { name: 'plan', digest: plan } : { name: 'key-document', digest: key };
  await documents.create(
    `acts/${predicate.run}/${predicate.id}`,
    writeStatement('act', [subject], predicate),
  );
}

/** All acts on a run, oldest first. */
export async function listActs(documents: Documents, run: string): Promise<ActPredicate[]> {
  const found: ActPredicate[] = [];
  for (const where of await documents.list(`acts/${run}/`)) {
    const text = await documents.read(where);
    if (text !== undefined) found.push(parseStatement(text, { name: 'act', read: readAct, where }).predicate);
  }
  return found.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}
