import type { ArtifactRef } from '../core/artifact.ts';
import type { Json } from '../core/canonical-json.ts';
import type { FailureAnswer, FailureCode } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';

/** Output name -> artifact: all that one stage tells another. */
export type Outputs = Record<string, ArtifactRef>;

/** How fast a lost worker or an orphaned job is noticed, in seconds. */
export interface Patience {
  /** A worker that has been silent for so long is taken for dead and its activity is given to another. */
  heartbeatSeconds: number;
  /** A job whose lease file has not been touched for so long stops itself. */
  leaseSeconds: number;
}

export interface StageResources {
  cpus: number;
  gpus: number;
  micro_batch?: number;
  memory_gib?: number;
  /** The server that answers (kinds with `runner: endpoint`). */
  endpoint?: Json;
  context_parallel?: number;
  recompute_activations?: number;
  keep_snapshots?: number;
  keep_every?: number;
  judge?: Json;
}

/** A job stalls when it has told nothing for `times` its usual gap between steps, and for `seconds`. */
export interface StallLimits {
  times: number;
  seconds: number;
}

/** Where a stage is stopped: `hours` of wall clock an attempt, `gpu_hours` over all attempts. */
export interface StageBudget {
  hours?: number;
  gpu_hours?: number;
}

/** What `run-stage` is told: names and limits, never bytes. The key document is in the store under the key. */
export interface StageRequest extends Patience {
  /** The pool's worker may write records: it serves the control queue too. */
  isControlPool: boolean;
  run: string;
  stage: string;
  kind: string;
  key: StageKey;
  pool: string;
  /** Counted tries; losing a node or being preempted is not counted. */
  attempts: number;
  /** Where the spec answers a failure otherwise than `defaultAnswers`. */
  answers?: { readonly [code in FailureCode]?: FailureAnswer };
  /** Sequences of a step on one rank: the micro batch must divide it. */
  rankBatch?: number;
  /** When a job that has been silent counts as stalled. */
  stall?: StallLimits;
  budget?: StageBudget;
  /** Of the first so many attempts, resume from no later snapshot than this step's. */
  fromStep?: { step: number; attempts: number };
  /** A person must agree before it is started: the question to ask. */
  approve?: string;
  resources: StageResources;
  /** Names of secrets; the worker has the values. */
  secrets: readonly string[];
  /** Compute although a record is there: the record made supersedes all below this generation. */
  recompute?: { generation: number; reason: string };
}

/** How a finished `run-stage` workflow says what it has. */
export type StageResult =
  | { kind: 'cached'; outputs: Outputs }
  | { kind: 'ran'; outputs: Outputs; attempts: number }
  | { kind: 'cancelled' };

/** What an attempt tells `run-stage`: `stored` has its outputs in the store and no record yet. */
export type AttemptEnd = { kind: 'stored' } | { kind: 'published'; result: StageResult };

/** How one stage of one run ended. */
export type StageOutcome =
  | { kind: 'cached'; key: StageKey; outputs: Outputs }
  | { kind: 'ran'; key: StageKey; outputs: Outputs; attempts: number }
  | { kind: 'failed'; key?: StageKey; code: FailureCode; message: string; attempts: number }
  | { kind: 'cancelled'; key?: StageKey }
  | { kind: 'blocked'; by: string };

/** A stage of a run as the CLI follows it. */
export type StageState =
  | { kind: 'waiting' }
  | { kind: 'running'; key: StageKey }
  | { kind: 'paused'; key?: StageKey }
  | { kind: 'approval'; key: StageKey; question: string }
  | StageOutcome;
