import { CancelledFailure } from '@temporalio/common';
import { writeFile } from 'node:fs/promises';
import { Failure, isFailure } from '../core/errors.ts';
import { BackgroundWork } from './background-work.ts';
import { beganAtMs } from './began-at.ts';
import type { Work } from './execute-stage.ts';
import type { JobFolder } from './job-folder.ts';
import { readSigns } from './job-events.ts';
import { breachFailure, JobLimits, tellBudget, type Breach } from './job-limits.ts';
import { uploadSnapshots } from './snapshot-upload.ts';
import type { TakenAttempt } from './take-attempt.ts';

/** Seconds that a job gets between SIGTERM and SIGKILL to take a last snapshot. */
export const stopGraceSeconds = 60;

/** What Temporal tells an activity and hears from it. */
export interface Pulse {
  beat(details: unknown): void;
  /** Aborted when the activity is to end, for whatever reason. */
  signal: AbortSignal;
  /** True when somebody asked for the stop; a lost server or a worker that shuts down leaves jobs at work. */
  isStopAsked(): boolean;
}

const lookMs = 1000;
const leaseCheckMs = 5000;

/**
 * Stays with a job until it has ended: tells Temporal and the job that it is watched, stores
 * snapshots as they appear, and stops the job when its lease is lost, nobody wants it any more, or it
 * is over a limit. The store is asked beside that: one that is slow, or away for a while, stops nothing.
 */
export async function superviseJob(work: Work, taken: TakenAttempt): Promise<void> {
  const { pulse, launcher } = work;
  const { folder } = taken;
  const limits = await JobLimits.open(work, taken);
  const uploads = new BackgroundWork(() => unlessStoreIsAway(() => upload(work, folder)));
  const leaseChecks = new BackgroundWork(() => unlessStoreIsAway(() => checkLease(work, folder)));
  let leaseCheckedAt = Date.now();
  for (;;) {
    await launcher.wait(folder, lookMs);
    if ((await launcher.poll(folder)) !== 'running') break;
    if (pulse.signal.aborted) await leave({ work, folder, uploads });
    const signs = await readSigns(folder.events);
    pulse.beat({ attempt: folder.attempt, ...signs.progress });
    if (signs.progress !== undefined) work.deps.metrics.progressed(work.request, signs.progress);
    await folder.touchLease();
    if (Date.now() - leaseCheckedAt > leaseCheckMs) {
      leaseChecks.begin();
      leaseCheckedAt = Date.now();
    }
    uploads.begin();
    limits.begin(await beganAtMs(launcher, folder, taken.startedAt));
    const warning = limits.takeWarning(Date.now());
    if (warning !== undefined) await tellBudget(work, warning);
    const breach = limits.breach(signs, Date.now());
    if (breach !== undefined) await stopFor(breach, { work, folder, uploads });
  }
  await lastUpload({ work, folder, uploads });
}

/** A job that is watched, and its snapshots on their way. */
interface Watch {
  work: Work;
  folder: JobFolder;
  uploads: BackgroundWork;
}

/** A job over its time gets the grace for a last snapshot; one that hangs would not use it. */
async function stopFor(breach: Breach, watch: Watch): Promise<never> {
  const { folder } = watch;
  const { launcher } = watch.work;
  if (breach.code === 'STALLED') {
    await writeFile(folder.stacks, (await launcher.dumpStacks?.(folder)) ?? '');
    await launcher.stop(folder, 0);
  } else await launcher.stop(folder, stopGraceSeconds);
  await lastUpload(watch);
  throw breachFailure(breach);
}

async function leave(watch: Watch): Promise<never> {
  const { pulse, launcher } = watch.work;
  if (!pulse.isStopAsked()) throw new Failure('NODE_LOST', 'the worker leaves; its job goes on');
  await launcher.stop(watch.folder, stopGraceSeconds);
  await lastUpload(watch);
  throw new CancelledFailure('stopped by request');
}

/** What the job has left when it ended, after what was already on its way. */
async function lastUpload({ work, folder, uploads }: Watch): Promise<void> {
  await uploads.settle();
  await upload(work, folder);
}

async function checkLease(work: Work, folder: JobFolder): Promise<void> {
  const latest = await work.deps.store.leases.latest(work.request.key);
  if (latest === undefined || latest.attempt <= folder.attempt) return;
  await work.launcher.stop(folder, 0);
  throw new Failure('LEASE_LOST', `attempt ${folder.attempt} was superseded by attempt ${latest.attempt}`);
}

async function upload(work: Work, folder: JobFolder): Promise<void> {
  try {
    await uploadSnapshots(work, folder);
  } catch (error) {
    await checkLease(work, folder);
    throw error;
  }
}

async function unlessStoreIsAway(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isFailure(error, 'STORE_UNAVAILABLE')) throw error;
  }
}
