import type { ArtifactRef } from '../core/artifact.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import { hexOf } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { stageKey, type KeyDocument, type StageKey } from '../core/keys.ts';
import type { Store, StoredRecord } from '../store/store.ts';
import { writeDivergent } from './divergent.ts';
import type { AttemptNote, RecordPredicate } from './record.ts';
import { lookUp, type LookUp } from './look-up.ts';
import { writeRecord } from './record-statement.ts';
import { sha256Text } from './sha256.ts';

export interface PublishRequest {
  key: StageKey;
  document: KeyDocument;
  outputs: Record<string, ArtifactRef>;
  /** All attempts, oldest first; the last one made the outputs. */
  attempts: AttemptNote[];
  run: string;
  stage: string;
  /** Supersede what is there; `generation` is the one that the new record is to have. */
  recompute?: { generation: number; reason: string };
}

export interface Published {
  /** `published`: ours holds. `existing`: another's did first, and its outputs are the stage's outputs. */
  kind: 'published' | 'existing';
  domain: string;
  generation: number;
  outputs: Record<string, ArtifactRef>;
}

/** The key document under its own hash, so that `plan` can say later what a key asked for. */
export async function writeKeyDocument(store: Store, document: KeyDocument): Promise<StageKey> {
  const key = stageKey(document, sha256Text);
  await store.documents.create(`keys/${hexOf(key)}`, canonicalJson(document));
  return key;
}

/**
 * Makes a finished stage a hit for everybody. The only writer of records; it may run twice. It
 * checks that the attempt still holds the key (LEASE_LOST) and that all bytes are there (NOT_FOUND).
 * The first good record wins: whoever comes second gets the first one's outputs, and what it made
 * itself is noted as divergent.
 */
export async function publishRecord(store: Store, request: PublishRequest): Promise<Published> {
  if (stageKey(request.document, sha256Text) !== request.key) {
    throw new Error(`bug: the key document of ${request.stage} does not have the key ${request.key}`);
  }
  for (;;) {
    const found = await lookUp(store, request.key);
    if (found.kind === 'hit' && found.record.generation >= (request.recompute?.generation ?? 0)) {
      return yieldTo(store, request, found);
    }
    await checkLease(store, request);
    await checkOutputs(store, request);
    await writeKeyDocument(store, request.document);
    const superseded = await supersededBy(store, request, found);
    const generation = Math.max((superseded?.generation ?? 0) + 1, request.recompute?.generation ?? 1);
    const envelope = writeRecord(predicateOf(request, superseded));
    const { created } = await store.records.create(request.key, generation, envelope);
    if (created)
      return { kind: 'published', domain: store.records.domain, generation, outputs: request.outputs };
  }
}

/** The highest generation of all trusted domains (what was lost elsewhere is superseded here), and why. */
async function supersededBy(
  store: Store,
  request: PublishRequest,
  found: LookUp,
): Promise<RecordPredicate['supersedes']> {
  if (found.kind === 'none') return undefined;
  const generation = (await store.records.history(request.key)).at(-1)?.generation ?? found.record.generation;
  const reason = found.kind === 'fallen' ? found.reason : request.recompute?.reason;
  return { generation, reason: reason ?? 'recompute' };
}

async function yieldTo(
  store: Store,
  request: PublishRequest,
  standing: { record: StoredRecord; predicate: RecordPredicate },
): Promise<Published> {
  const { record, predicate } = standing;
  const attempt = lastAttempt(request);
  const hasSameOutputs =
    canonicalJson(digestsOf(predicate.outputs)) === canonicalJson(digestsOf(request.outputs));
  const isOurs = hasSameOutputs && predicate.run === request.run && lastAttempt(predicate) === attempt;
  if (!hasSameOutputs) {
    await writeDivergent(store.documents, {
      schema: 'fretsaw/divergent/v1',
      key: request.key,
      attempt,
      run: request.run,
      stage: request.stage,
      outputs: request.outputs,
      record: { domain: record.domain, generation: record.generation },
    });
  }
  return {
    kind: isOurs ? 'published' : 'existing',
    domain: record.domain,
    generation: record.generation,
    outputs: predicate.outputs,
  };
}

async function checkLease(store: Store, request: PublishRequest): Promise<void> {
  const holder = await store.leases.latest(request.key);
  const attempt = lastAttempt(request);
  if (holder === undefined || holder.attempt <= attempt) return;
  throw new Failure(
    'LEASE_LOST',
    `attempt ${attempt} of ${request.stage}: attempt ${holder.attempt} holds ${request.key}`,
  );
}

async function checkOutputs(store: Store, request: PublishRequest): Promise<void> {
  for (const [name, { digest }] of Object.entries(request.outputs)) {
    const missing = await store.artifacts.missing(digest);
    if (missing.length === 0) continue;
    throw new Failure(
      'NOT_FOUND',
      `${request.stage}.${name}: ${digest} lacks ${missing.slice(0, 3).join(', ')}`,
      {
        details: { missing: missing.length },
      },
    );
  }
}

function predicateOf(request: PublishRequest, supersedes: RecordPredicate['supersedes']): RecordPredicate {
  const { key, document, stage, run, outputs, attempts } = request;
  return {
    schema: 'fretsaw/record/v1',
    ...{ key, document, stage, run, outputs },
    attempts: attempts.map(noteOf),
    ...(supersedes === undefined ? {} : { supersedes }),
  };
}

/** The note alone: an attempt's own statement says more, and a record takes nothing that it does not know. */
function noteOf(note: AttemptNote): AttemptNote {
  const { attempt, startedAt, finishedAt, host, launcher, code, versions, resources, outcome } = note;
  return {
    ...{ attempt, startedAt, finishedAt, host, launcher, code, versions, resources },
    ...(note.resumedFrom === undefined ? {} : { resumedFrom: note.resumedFrom }),
    outcome,
    ...(note.failure === undefined ? {} : { failure: note.failure }),
  };
}

function lastAttempt(made: { attempts: readonly AttemptNote[] }): number {
  return Math.max(0, ...made.attempts.map(({ attempt }) => attempt));
}

function digestsOf(outputs: Readonly<Record<string, ArtifactRef>>): Record<string, string> {
  return Object.fromEntries(Object.entries(outputs).map(([name, { digest }]) => [name, digest]));
}
