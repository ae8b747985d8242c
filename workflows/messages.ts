import { defineQuery, defineSignal } from '@temporalio/workflow';
import type { StageState } from '../activities/stage-request.ts';

/** A run wants this stage. Sent with the start, so that a stage never runs without a waiter. */
export const joinSignal = defineSignal<[run: string]>('join');

/** A run wants it no more; the last one to leave stops it. */
export const leaveSignal = defineSignal<[run: string]>('leave');

/** What changed in a run since change number `since`. */
export interface RunChanges {
  next: number;
  stages: (readonly [name: string, state: StageState])[];
}

export const changesQuery = defineQuery<RunChanges, [since: number]>('changes');

/** Runs that wait for a stage now. */
export const waitersQuery = defineQuery<string[]>('waiters');
