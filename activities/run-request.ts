import type { Patience, StageOutcome } from './stage-request.ts';

/** Task queues of the control plane. A pool has a queue of its own: `StageRequest.pool`. */
export interface TaskQueues {
  /** Workflows, look-ups and records. */
  control: string;
  /** Activities that wait for a shared stage, for days if need be: many slots, never a pool's. */
  waiters: string;
}

/** What `run-pipeline` is told. The plan itself is a document of the store: `runs/<run>/plan`. */
export interface RunRequest extends Patience {
  run: string;
  spec: string;
  planDigest: string;
  recompute?: { stage: string; reason: string };
  queues: TaskQueues;
  /** Stages that may be in flight at once; the rest wait in the workflow. */
  maxInFlight: number;
  /** GPU hours of all stages after which the run stops. */
  budget?: { gpu_hours: number };
  /** Only after continue-as-new: what people have said so far. */
  control?: RunControl;
  /** Only after continue-as-new: how the stages that ended badly so far ended. */
  ended?: readonly (readonly [string, StageOutcome])[];
  /** Only after continue-as-new: the stages that this run has made so far, with their attempts. The store has their outputs. */
  ran?: readonly (readonly [stage: string, attempts: number])[];
}

/** What a person does to a run or one of its stages. */
export interface Act {
  /** Made by who asks, so that asking twice is asking once. */
  id: string;
  act: 'pause' | 'resume' | 'cancel' | 'approve';
  /** Absent: the whole run. */
  stage?: string;
  by: string;
  reason: string;
  at: string;
}

/** What holds in a run because a person said so. */
export interface RunControl {
  isPaused: boolean;
  pausedStages: readonly string[];
  approvedStages: readonly string[];
  /** Acts that were obeyed: hearing one again changes nothing. */
  acts: readonly string[];
  /** GPU hours that count against the budget already. */
  gpuHours: number;
  isBudgetTold: boolean;
}

/** What people are told while a run goes on. */
export type News =
  | { kind: 'failed'; stage: string; code: string; message: string }
  | { kind: 'approval'; stage: string; question: string }
  | { kind: 'budget'; stage?: string; message: string }
  | { kind: 'done'; state: RunSummary['state'] };

export interface RunSummary {
  run: string;
  state: 'done' | 'failed' | 'cancelled';
  counts: { [kind in StageOutcome['kind']]: number };
  /** Stages that did not end well, the first few hundred; the store has all outcomes. */
  problems: (readonly [stage: string, outcome: StageOutcome])[];
}

/** The shape of a plan that scheduling needs, stages in topological order. */
export interface Graph {
  stages: readonly { name: string; after: readonly number[] }[];
}
