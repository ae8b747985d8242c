import { artifactTypes, type ArtifactRef } from '../core/artifact.ts';
import { failureCodes } from '../core/errors.ts';
import type { InputDigests, KeyDocument, StageKey } from '../core/keys.ts';
import {
  readCount,
  readDigest,
  readInstant,
  readJson,
  readList,
  readMap,
  readObject,
  readPartObject,
  readOneOf,
  readText,
  type Read,
} from './read-json.ts';
import type { AttemptNote, RecordPredicate } from './record.ts';

/** A digest that a document of ours calls a key: keys are made only from key documents. */
export const readKey: Read<StageKey> = (value, where) => readDigest(value, where) as StageKey;

export const readArtifactRef: Read<ArtifactRef> = readObject({
  digest: readDigest,
  type: readOneOf(artifactTypes),
  sizeBytes: readCount,
});

export const readOutputs = readMap(readArtifactRef);

const readInputs: Read<InputDigests> = (value, where) => {
  if (typeof value === 'string') return readDigest(value, where);
  return Array.isArray(value) ? readList(readDigest)(value, where) : readMap(readDigest)(value, where);
};

export const readKeyDocument: Read<KeyDocument> = readPartObject(
  {
    schema: readOneOf(['fretsaw/key/v1']),
    kind: readText,
    version: readText,
    with: readMap(readJson),
    inputs: readMap(readInputs),
  },
  { environment: readMap(readJson) },
);

export const attemptShape = {
  attempt: readCount,
  startedAt: readInstant,
  finishedAt: readInstant,
  host: readText,
  launcher: readText,
  code: readDigest,
  versions: readMap(readText),
  resources: readMap(readJson),
  outcome: readOneOf(['done', 'failed']),
};

export const attemptOptions = {
  resumedFrom: readObject({ attempt: readCount, step: readCount }),
  failure: readObject({ code: readOneOf(failureCodes), message: readText }),
};

const readAttemptNote: Read<AttemptNote> = readPartObject(attemptShape, attemptOptions);

export const readRecordPredicate: Read<RecordPredicate> = readPartObject(
  {
    schema: readOneOf(['fretsaw/record/v1']),
    key: readKey,
    document: readKeyDocument,
    stage: readText,
    run: readText,
    outputs: readOutputs,
    attempts: readList(readAttemptNote),
  },
  {
    supersedes: readObject({ generation: readCount, reason: readText }),
    accepted: readObject({
      key: readKey,
      domain: readText,
      generation: readCount,
      by: readText,
      reason: readText,
      at: readInstant,
    }),
  },
);
