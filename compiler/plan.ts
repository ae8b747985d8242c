import type { ArtifactType } from '../core/artifact.ts';
import type { Json } from '../core/canonical-json.ts';
import type { Digest } from '../core/digest.ts';
import type { FailureAnswer, FailureCode } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';

/** Where an input comes from: an output of a stage of the same plan. */
export interface Source {
  stage: string;
  output: string;
}

export type SourceInput = Source | readonly Source[] | { readonly [name: string]: Source };

/** What a stage may take of its machine. How, not what: never in the key. */
export interface Resources {
  cpus: number;
  gpus: number;
  micro_batch?: number;
  memory_gib?: number;
  /** The server that answers; see `resourcesSetting`. */
  endpoint?: Json;
  context_parallel?: number;
  recompute_activations?: number;
  keep_snapshots?: number;
  keep_every?: number;
  judge?: Json;
}

/** Where a stage stops by itself: `hours` of wall clock an attempt, `gpu_hours` over all attempts. */
export interface Budget {
  hours?: number;
  gpu_hours?: number;
}

/** How often a stage is tried, and what is tried again. */
export interface Retry {
  /** Counted tries in all. */
  attempts: number;
  /** Where a failure is answered otherwise than by `defaultAnswers`. */
  on?: { readonly [code in FailureCode]?: FailureAnswer };
  /** Silence of a job that counts as a stall: so many usual gaps between steps, and so many seconds. */
  stalled?: { times: number; seconds: number };
}

/** One stage, or one leg of a stage with a matrix, with nothing left to look up but digests. */
export interface PlannedStage {
  /** `distill`, or `evaluate[effort=low]` for a leg. */
  name: string;
  kind: string;
  /** The kind's declared version; what is bound into a key may add `+dirty.<hash>`. */
  version: number;
  with: { readonly [name: string]: Json };
  inputs: { readonly [name: string]: SourceInput };
  outputs: { readonly [name: string]: ArtifactType };
  /** Stages that must be done first: exactly those behind `inputs`. */
  after: readonly string[];
  pool: string;
  resources: Resources;
  retry: Retry;
  budget?: Budget;
  /** A person must agree before it is run: the question. */
  approve?: string;
  /** Where it goes on from: a snapshot of another key. It becomes the input `continues` of the key. */
  continues?: { artifact: Digest; key: StageKey; attempt: number; step: number };
  /** Of the attempts so far, resumes from no later snapshot than this step's. Not part of the key. */
  fromStep?: { step: number; attempts: number };
  /** Names of the secrets that the worker must resolve. */
  secrets: readonly string[];
}

/** A checked spec under one profile. */
export interface Plan {
  schema: 'fretsaw/plan/v1';
  spec: { name: string; path: string; profile: string | null; digest: Digest };
  /** GPU hours after which a run stops. */
  budget?: { gpu_hours: number };
  /** In topological order; stages that do not depend on each other in spec order. */
  stages: readonly PlannedStage[];
}

export function isSource(input: SourceInput): input is Source {
  return !Array.isArray(input) && typeof (input as Partial<Source>).output === 'string';
}

export function isSourceList(input: SourceInput): input is readonly Source[] {
  return Array.isArray(input);
}

/** All sources of an input, whatever its form. */
export function sourcesOf(input: SourceInput): readonly Source[] {
  if (isSource(input)) return [input];
  return isSourceList(input) ? input : Object.values(input);
}
