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
  /** Only after continue-as-new: how the stages that ended badly so far ended. */
  ended?: readonly (readonly [string, StageOutcome])[];
}

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
