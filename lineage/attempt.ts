import type { ArtifactRef } from '../core/artifact.ts';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import type { Documents } from '../store/store.ts';
import { readCount, readList, readPartObject, readOneOf, readText, type Read } from './read-json.ts';
import { attemptOptions, attemptShape, readArtifactRef, readKey, readOutputs } from './read-record.ts';
import type { AttemptNote } from './record.ts';
import { parseStatement, writeStatement, type Subject } from './statement.ts';

/** The predicate of an attempt that has ended, well or badly: `attempts/<key hex>/<attempt>`. */
export interface AttemptPredicate extends AttemptNote {
  schema: 'fretsaw/attempt/v1';
  key: StageKey;
  run: string;
  stage: string;
  /** What it made, whether or not a record came of it. */
  outputs?: Record<string, ArtifactRef>;
  /** The job's exit code, 128 + n after signal n; absent when nobody saw it end. */
  exit?: number;
  /** The end of what the job wrote. */
  lastLines?: string[];
  /** All that it wrote: `log`, `events.jsonl`, logs of ranks, `stacks`. */
  logs?: ArtifactRef;
}

const readAttemptPredicate: Read<AttemptPredicate> = readPartObject(
  {
    schema: readOneOf(['fretsaw/attempt/v1']),
    key: readKey,
    run: readText,
    stage: readText,
    ...attemptShape,
  },
  {
    ...attemptOptions,
    outputs: readOutputs,
    exit: readCount,
    lastLines: readList(readText),
    logs: readArtifactRef,
  },
);

/** Create-only: an attempt ends once. False when its end was written down before. */
export function writeAttempt(documents: Documents, predicate: AttemptPredicate): Promise<boolean> {
  const outputs = Object.entries(predicate.outputs ?? {}).map(([name, { digest }]): Subject => ({
    name,
    digest,
  }));
  const subjects = outputs.length > 0 ? outputs : [{ name: 'key-document', digest: predicate.key }];
  return documents.create(
    pathOf(predicate.key, predicate.attempt),
    writeStatement('attempt', subjects, predicate),
  );
}

export async function readAttempt(
  documents: Documents,
  key: StageKey,
  attempt: number,
): Promise<AttemptPredicate | undefined> {
  const text = await documents.read(pathOf(key, attempt));
  return text === undefined ? undefined : parseAttempt(text, pathOf(key, attempt));
}

/** All attempts at a key that have ended, oldest first. */
export async function listAttempts(documents: Documents, key: StageKey): Promise<AttemptPredicate[]> {
  const found: AttemptPredicate[] = [];
  for (const path of await documents.list(`attempts/${hexOf(key)}/`)) {
    const text = await documents.read(path);
    if (text !== undefined) found.push(parseAttempt(text, path));
  }
  return found.sort((a, b) => a.attempt - b.attempt);
}

function parseAttempt(text: string, where: string): AttemptPredicate {
  return parseStatement(text, { name: 'attempt', read: readAttemptPredicate, where }).predicate;
}

function pathOf(key: StageKey, attempt: number): string {
  return `attempts/${hexOf(key)}/${attempt}`;
}
