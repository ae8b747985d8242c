import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isFailure } from '../core/errors.ts';
import { listAttempts, readAttempt } from '../lineage/attempt.ts';
import type { StoredSnapshot } from '../store/store.ts';
import type { Work } from './execute-stage.ts';
import { JobFolder, exists } from './job-folder.ts';
import { uploadSnapshots } from './snapshot-upload.ts';
import type { StageRequest } from './stage-request.ts';
import { stopGraceSeconds } from './supervise-job.ts';

export interface ResumePoint {
  path: string;
  step: number;
  attempt: number;
}

export interface TakenAttempt {
  /** `found`: its job is at work or has ended and nobody has taken what it made. */
  kind: 'new' | 'found';
  folder: JobFolder;
  startedAt: string;
  resume?: ResumePoint;
}

/**
 * The attempt to go on with. A new one first stops the job of the one before and saves its last
 * snapshots: from its lease on, whatever the older job still writes can never be published.
 */
export async function takeAttempt(work: Work): Promise<TakenAttempt | { kind: 'stored' }> {
  const { deps, request } = work;
  for (;;) {
    const latest = await deps.store.leases.latest(request.key);
    if (latest !== undefined) {
      const found = await examine(work, latest.attempt, latest.holder.host);
      if (found !== undefined) return found;
    }
    const attempt = (latest?.attempt ?? 0) + 1;
    const startedAt = new Date().toISOString();
    const isOurs = await deps.store.leases.create({
      schema: 'fretsaw/lease/v1',
      key: request.key,
      attempt,
      holder: { run: request.run, host: deps.host, pid: deps.pid },
      createdAt: startedAt,
    });
    if (!isOurs) continue;
    const resume = latest === undefined ? undefined : await newestGoodSnapshot(work);
    const folder = new JobFolder(deps.home.work, request.key, attempt);
    return { kind: 'new', folder, startedAt, ...(resume === undefined ? {} : { resume }) };
  }
}

/** Looks at the newest attempt: something to go on with, or (undefined) something that is surely over. */
async function examine(
  work: Work,
  attempt: number,
  host: string,
): Promise<TakenAttempt | { kind: 'stored' } | undefined> {
  const { deps, request } = work;
  const note = await readAttempt(deps.store.documents, request.key, attempt);
  if (note?.outcome === 'done' && (await isUnpublished(work, note.outputs ?? {}))) return { kind: 'stored' };
  const folder = new JobFolder(deps.home.work, request.key, attempt);
  if (!(await exists(folder.job))) {
    if (note === undefined && host !== deps.host) await waitOut(work);
    return undefined;
  }
  if (note === undefined && (await isWorthFinding(work, folder))) {
    const startedAt = new Date((await folder.startedAtMs()) ?? Date.now()).toISOString();
    return { kind: 'found', folder, startedAt };
  }
  await work.launcher.stop(folder, stopGraceSeconds);
  await rm(folder.lease, { force: true }); // ranks that have lost their parent stop themselves
  await uploadSnapshots(work, folder).catch((error: unknown) => {
    if (!isFailure(error, 'LEASE_LOST')) throw error;
  });
  return undefined;
}

/** At work, or ended by itself: a job that was killed has left neither mark. */
async function isWorthFinding({ launcher }: Work, folder: JobFolder): Promise<boolean> {
  if ((await launcher.poll(folder)) === 'running') return true;
  return (await exists(folder.done)) || (await exists(folder.exit));
}

/** Outputs of an attempt that ended well but whose record was never written are simply taken. */
async function isUnpublished({ deps, request }: Work, outputs: object): Promise<boolean> {
  if ((await deps.store.records.latest(request.key)) !== undefined) return false;
  const refs = Object.values(outputs) as { digest: Parameters<typeof deps.store.artifacts.missing>[0] }[];
  for (const ref of refs) if ((await deps.store.artifacts.missing(ref.digest)).length > 0) return false;
  return refs.length > 0;
}

/** A job of another host cannot be stopped from here; it stops itself when its lease file is stale. */
async function waitOut({ request, pulse }: Work): Promise<void> {
  const until = Date.now() + request.leaseSeconds * 1000;
  while (Date.now() < until && !pulse.signal.aborted) {
    pulse.beat({ state: 'waiting for the lease of another host' });
    await sleep(Math.min(1000, until - Date.now()));
  }
}

/** What was made after a person's choice of a step counts again: it came of that step. */
function isTooLate({ step, attempt }: StoredSnapshot, { fromStep }: StageRequest): boolean {
  return fromStep !== undefined && step > fromStep.step && attempt <= fromStep.attempts;
}

/**
 * The newest snapshot whose every byte is there and right, and from which no attempt has found that it
 * was not where the snapshot says.
 */
async function newestGoodSnapshot({ deps, request }: Work): Promise<ResumePoint | undefined> {
  const attempts = await listAttempts(deps.store.documents, request.key);
  const drifted = attempts.filter(({ failure }) => failure?.code === 'RESUME_DRIFT');
  for (const snapshot of await deps.store.snapshots.list(request.key)) {
    const isDrifted = drifted.some(
      ({ resumedFrom }) => resumedFrom?.attempt === snapshot.attempt && resumedFrom.step === snapshot.step,
    );
    if (isDrifted || isTooLate(snapshot, request)) continue;
    try {
      if ((await deps.store.artifacts.missing(snapshot.artifact.digest)).length > 0) continue;
      const path = await deps.store.artifacts.view(snapshot.artifact.digest);
      return { path, step: snapshot.step, attempt: snapshot.attempt };
    } catch (error) {
      if (
        !isFailure(error, 'CORRUPT') &&
        !isFailure(error, 'NOT_FOUND') &&
        !isFailure(error, 'DIGEST_MISMATCH')
      )
        throw error;
    }
  }
  return undefined;
}
