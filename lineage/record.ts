import type { ArtifactRef } from '../core/artifact.ts';
import type { Digest } from '../core/digest.ts';
import type { FailureCode } from '../core/errors.ts';
import type { KeyDocument, StageKey } from '../core/keys.ts';

/** How one attempt went: what was computed, where, with what, and why it ended. */
export interface AttemptNote {
  attempt: number;
  startedAt: string;
  finishedAt: string;
  host: string;
  launcher: string;
  /** Digest of the kind's code as it ran, and versions of what it ran on (torch, node ...). */
  code: Digest;
  versions: Record<string, string>;
  resources: Record<string, unknown>;
  resumedFrom?: { attempt: number; step: number };
  outcome: 'done' | 'failed';
  failure?: { code: FailureCode; message: string };
}

/** The predicate of the statement that a finished stage leaves under its key. */
export interface RecordPredicate {
  schema: 'fretsaw/record/v1';
  key: StageKey;
  document: KeyDocument;
  stage: string;
  run: string;
  outputs: Record<string, ArtifactRef>;
  attempts: AttemptNote[];
  /** By a person's word these are the outputs of that record, and no attempt was made here. */
  accepted?: { key: StageKey; domain: string; generation: number; by: string; reason: string; at: string };
  /** Generation that this one replaces, with its reason (lost bytes, tombstone, recompute, accept). */
  supersedes?: { generation: number; reason: string };
}
