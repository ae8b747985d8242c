import { Failure } from '../core/errors.ts';
import { listAttempts, type AttemptPredicate } from '../lineage/attempt.ts';
import { publishRecord } from '../lineage/publish.ts';
import type { AttemptNote } from '../lineage/record.ts';
import type { ActivityDeps } from './deps.ts';
import { readKeyDocument } from './key-document.ts';
import type { StageRequest, StageResult } from './stage-request.ts';

/**
 * Turns the newest good attempt into the stage's record, on the control pool. When another record
 * was first, its outputs hold.
 */
export async function publishStage({ store }: ActivityDeps, request: StageRequest): Promise<StageResult> {
  const attempts = await listAttempts(store.documents, request.key);
  const made = attempts.findLast((attempt) => attempt.outcome === 'done');
  if (made?.outputs === undefined) {
    throw new Failure('ENGINE_BUG', `${request.stage}: no attempt at ${request.key} has outputs`);
  }
  const published = await publishRecord(store, {
    key: request.key,
    document: await readKeyDocument(store, request.key),
    outputs: made.outputs,
    attempts: attempts.filter(({ attempt }) => attempt <= made.attempt).map(toNote),
    run: request.run,
    stage: request.stage,
    ...(request.recompute === undefined ? {} : { recompute: request.recompute }),
  });
  return { kind: 'ran', outputs: published.outputs, attempts: attempts.length };
}

/** A record says run, stage and outputs once, not with each attempt. */
function toNote(attempt: AttemptPredicate): AttemptNote {
  const {
    attempt: number,
    startedAt,
    finishedAt,
    host,
    launcher,
    code,
    versions,
    resources,
    outcome,
  } = attempt;
  return {
    ...{ attempt: number, startedAt, finishedAt, host, launcher, code, versions, resources, outcome },
    ...(attempt.resumedFrom === undefined ? {} : { resumedFrom: attempt.resumedFrom }),
    ...(attempt.failure === undefined ? {} : { failure: attempt.failure }),
  };
}
