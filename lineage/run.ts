import type { ArtifactRef } from '../core/artifact.ts';
import type { Digest } from '../core/digest.ts';
import { failureCodes, type FailureCode } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';
import type { Documents } from '../store/store.ts';
import {
  readCount,
  readDigest,
  readInstant,
  readList,
  readMap,
  readObject,
  readPartObject,
  readOneOf,
  readText,
  type Read,
} from './read-json.ts';
import { readArtifactRef, readKey } from './read-record.ts';
import { parseStatement, writeStatement } from './statement.ts';

/** Of which run this is another try, and what is different. */
export interface RunRetry {
  run: string;
  stage?: string;
  with: Record<string, string>;
  resources: Record<string, string>;
  /** The snapshot that the changed stage goes on from. */
  continues?: { artifact: Digest; key: StageKey; attempt: number; step: number };
  reason: string;
}

/** Who started what: `runs/<run>/started`. */
export interface RunStarted {
  schema: 'fretsaw/run-started/v1';
  run: string;
  spec: { name: string; path: string; profile: string | null; digest: Digest };
  /** sha256 of the stored plan, byte for byte. */
  plan: Digest;
  startedAt: string;
  host: string;
  /** Who started it, as the system or FRETSAW_OWNER says. */
  owner?: string;
  /** The git commit that was checked out; `+changes` behind it when the working tree differed. */
  commit?: string;
  fretsaw: string;
  recompute?: { stage: string; reason: string };
  retry?: RunRetry;
}

/** How it ended: `runs/<run>/finished/<n>`; a run that is taken up again after it failed ends again. */
export interface RunFinished {
  schema: 'fretsaw/run-finished/v1';
  run: string;
  plan: Digest;
  state: 'done' | 'failed' | 'cancelled';
  finishedAt: string;
  stages: {
    stage: string;
    outcome: 'cached' | 'ran' | 'failed' | 'cancelled' | 'blocked';
    key?: StageKey;
    outputs?: Record<string, ArtifactRef>;
    failure?: { code: FailureCode; message: string };
    /** The stage that had to be done first and was not. */
    blockedBy?: string;
  }[];
}

const readRunStarted: Read<RunStarted> = readPartObject(
  {
    schema: readOneOf(['fretsaw/run-started/v1']),
    run: readText,
    spec: readObject({
      name: readText,
      path: readText,
      profile: (value: unknown, where: string) => (value === null ? null : readText(value, where)),
      digest: readDigest,
    }),
    plan: readDigest,
    startedAt: readInstant,
    host: readText,
    fretsaw: readText,
  },
  {
    owner: readText,
    commit: readText,
    recompute: readObject({ stage: readText, reason: readText }),
    retry: readPartObject(
      { run: readText, with: readMap(readText), resources: readMap(readText), reason: readText },
      {
        stage: readText,
        continues: readObject({ artifact: readDigest, key: readKey, attempt: readCount, step: readCount }),
      },
    ),
  },
);

const readStageEnd: Read<RunFinished['stages'][number]> = readPartObject(
  { stage: readText, outcome: readOneOf(['cached', 'ran', 'failed', 'cancelled', 'blocked']) },
  {
    key: readKey,
    outputs: readMap(readArtifactRef),
    failure: readObject({ code: readOneOf(failureCodes), message: readText }),
    blockedBy: readText,
  },
);

const readRunFinished: Read<RunFinished> = readObject({
  schema: readOneOf(['fretsaw/run-finished/v1']),
  run: readText,
  plan: readDigest,
  state: readOneOf(['done', 'failed', 'cancelled']),
  finishedAt: readInstant,
  stages: readList(readStageEnd),
});

/** False when this run was started before; its first statement holds. */
export function writeRunStarted(documents: Documents, predicate: RunStarted): Promise<boolean> {
  const subjects = [{ name: 'plan', digest: predicate.plan }];
  return documents.create(`runs/${predicate.run}/started`, writeStatement('runStarted', subjects, predicate));
}

export async function readStarted(documents: Documents, run: string): Promise<RunStarted | undefined> {
  const where = `runs/${run}/started`;
  const text = await documents.read(where);
  if (text === undefined) return undefined;
  return parseStatement(text, { name: 'runStarted', read: readRunStarted, where }).predicate;
}

/** Under the next free number; saying the same again is no second end. */
export async function writeRunFinished(documents: Documents, predicate: RunFinished): Promise<void> {
  const text = writeStatement('runFinished', [{ name: 'plan', digest: predicate.plan }], predicate);
  for (let n = 1; ; n++) {
    const path = `runs/${predicate.run}/finished/${n}`;
    if ((await documents.read(path)) === text || (await documents.create(path, text))) return;
  }
}

/** Oldest first. */
export async function listFinished(documents: Documents, run: string): Promise<RunFinished[]> {
  const paths = await documents.list(`runs/${run}/finished/`);
  const numbers = paths.map((path) => readCount(Number(path.split('/').at(-1)), path)).sort((a, b) => a - b);
  const found: RunFinished[] = [];
  for (const n of numbers) {
    const where = `runs/${run}/finished/${n}`;
    const text = await documents.read(where);
    if (text !== undefined)
      found.push(parseStatement(text, { name: 'runFinished', read: readRunFinished, where }).predicate);
  }
  return found;
}

/** Ids of all runs that were started here, newest first: they begin with the time. */
export async function listRuns(documents: Documents): Promise<string[]> {
  const runs = new Set((await documents.list('runs/')).map((path) => path.split('/')[1] ?? ''));
  return [...runs]
    .filter((run) => run !== '')
    .sort()
    .reverse();
}
