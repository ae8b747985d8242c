import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Act } from '../activities/run-request.ts';
import type { StageState } from '../activities/stage-request.ts';
import type { FailureCode } from '../core/errors.ts';

/** A run wants this stage. Sent with the start, so that a stage never runs without a waiter. */
export const joinSignal = defineSignal<[run: string]>('join');

/** A run wants it no more; the last one to leave stops it. */
export const leaveSignal = defineSignal<[run: string]>('leave');

/** A run wants it later; it pauses when no other run wants it now. */
export const pauseSignal = defineSignal<[run: string]>('pause');

export const resumeSignal = defineSignal<[run: string]>('resume');

/** A stage is near its budget; said by its attempt, passed on to the runs that wait. */
export const budgetSignal = defineSignal<[message: string]>('budget');

/** A person's word to a run; true once it holds and is written down, false when it changes nothing. */
export const actUpdate = defineUpdate<boolean, [act: Act]>('act');

/** A stage of this key is near its budget. */
export const budgetNewsSignal = defineSignal<[key: string, message: string]>('budgetNews');

/** What changed in a run since change number `since`. */
export interface RunChanges {
  next: number;
  stages: (readonly [name: string, state: StageState])[];
}

export const changesQuery = defineQuery<RunChanges, [since: number]>('changes');

/** Runs that wait for a stage now. */
export const waitersQuery = defineQuery<string[]>('waiters');

/** How a stage's work stands. */
export interface StageWork {
  state: 'working' | 'paused' | 'retrying';
  /** Attempts so far. */
  tries: number;
  /** Why the newest attempt that failed did. */
  failure: { code: FailureCode; message: string } | null;
}

export const workQuery = defineQuery<StageWork>('work');
