import type { ArtifactRef } from '../core/artifact.ts';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import type { Documents } from '../store/store.ts';
import { readCount, readObject, readOneOf, readText, type Read } from './read-json.ts';
import { readKey, readOutputs } from './read-record.ts';
import { parseStatement, writeStatement, type Subject } from './statement.ts';

/** An attempt that found another's record: what it had made itself. `divergent/<key hex>/<attempt>`. */
export interface DivergentPredicate {
  schema: 'fretsaw/divergent/v1';
  key: StageKey;
  attempt: number;
  run: string;
  stage: string;
  outputs: Record<string, ArtifactRef>;
  /** The record that holds. */
  record: { domain: string; generation: number };
}

const readDivergent: Read<DivergentPredicate> = readObject({
  schema: readOneOf(['fretsaw/divergent/v1']),
  key: readKey,
  attempt: readCount,
  run: readText,
  stage: readText,
  outputs: readOutputs,
  record: readObject({ domain: readText, generation: readCount }),
});

export async function writeDivergent(documents: Documents, predicate: DivergentPredicate): Promise<void> {
  const subjects = Object.entries(predicate.outputs).map(([name, { digest }]): Subject => ({ name, digest }));
  const path = `divergent/${hexOf(predicate.key)}/${predicate.attempt}`;
  await documents.create(path, writeStatement('divergent', subjects, predicate));
}

export async function listDivergent(documents: Documents, key: StageKey): Promise<DivergentPredicate[]> {
  const found: DivergentPredicate[] = [];
  for (const where of await documents.list(`divergent/${hexOf(key)}/`)) {
    const text = await documents.read(where);
    if (text !== undefined)
      found.push(parseStatement(text, { name: 'divergent', read: readDivergent, where }).predicate);
  }
  return found.sort((a, b) => a.attempt - b.attempt);
}
