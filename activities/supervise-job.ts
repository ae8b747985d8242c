import { CancelledFailure } from '@temporalio/common';
import { Failure } from '../core/errors.ts';
import type { Work } from './execute-stage.ts';
import type { JobFolder } from './job-folder.ts';
import { readProgress } from './job-events.ts';
import { uploadSnapshots } from './snapshot-upload.ts';

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
 * snapshots as they appear, and stops the job when its lease is lost or nobody wants it any more.
 */
export async function superviseJob(work: Work, folder: JobFolder): Promise<void> {
  const { pulse } = work;
  let leaseCheckedAt = Date.now();
  for (;;) {
    await work.launcher.wait(folder, lookMs);
    const state = await work.launcher.poll(folder);
    if (state !== 'running') break;
    if (pulse.signal.aborted) await leave(work, folder);
    pulse.beat({ attempt: folder.attempt, ...(await readProgress(folder.events)) });
    await folder.touchLease();
    if (Date.now() - leaseCheckedAt > leaseCheckMs) {
      await checkLease(work, folder);
      leaseCheckedAt = Date.now();
    }
    await upload(work, folder);
  }
  await upload(work, folder);
}

async function leave(work: Work, folder: JobFolder): Promise<never> {
  if (!work.pulse.isStopAsked()) throw new Failure('NODE_LOST', 'the worker leaves; its job goes on');
  await work.launcher.stop(folder, stopGraceSeconds);
  await uploadSnapshots(work, folder);
  throw new CancelledFailure('stopped: no run wants it any more');
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
