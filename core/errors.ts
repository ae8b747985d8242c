/**
 * The world's failures: one class, a closed code, what was expected and what came. Activities turn
 * it into Temporal's ApplicationFailure (type = code) in one place only.
 */
export const failureCodes = [
  'OUT_OF_MEMORY',
  'NAN_LOSS',
  'LOSS_SPIKE',
  'FROZEN_MOVED',
  'RESUME_DRIFT',
  'PREEMPTED',
  'LEASE_LOST',
  'NODE_LOST',
  'TIMEOUT',
  'STALLED',
  'BUDGET_SPENT',
  'BAD_INPUT',
  'DISK_FULL',
  'STORE_UNAVAILABLE',
  'VERSION_MISMATCH',
  'COMMAND_FAILED',
  'ENGINE_BUG',
  'DIGEST_MISMATCH',
  'NOT_FOUND',
  'CORRUPT',
  'UNSAFE_PATH',
  'GATE_FAILED',
  'NOT_COMPARABLE',
  'NO_POOL',
  'NOT_ALLOWED',
  'ENDPOINT_DOWN',
] as const;

export type FailureCode = (typeof failureCodes)[number];

/**
 * What the control plane does about a failure:
 * - `stop`: the stage has failed; trying again without a person would fail again
 * - `retry`: tried again after a pause that doubles; counted against `retry.attempts`
 * - `at_once`: tried again without a pause and not counted, because it says nothing about the stage
 * - `wait`: as `at_once`, but after a pause that doubles while nothing else happens: something
 *   outside must come back first
 * - `smaller_batch`: a counted retry with a smaller `resources.micro_batch`; `stop` once it is 1
 */
export const failureAnswers = ['stop', 'retry', 'at_once', 'wait', 'smaller_batch'] as const;

export type FailureAnswer = (typeof failureAnswers)[number];

/** The answer to each code unless a spec says otherwise (`retry.on`). */
export const defaultAnswers: Readonly<Record<FailureCode, FailureAnswer>> = {
  OUT_OF_MEMORY: 'stop',
  NAN_LOSS: 'stop',
  LOSS_SPIKE: 'stop',
  FROZEN_MOVED: 'stop',
  RESUME_DRIFT: 'retry',
  PREEMPTED: 'at_once',
  LEASE_LOST: 'at_once',
  NODE_LOST: 'wait',
  TIMEOUT: 'retry',
  STALLED: 'retry',
  BUDGET_SPENT: 'stop',
  BAD_INPUT: 'stop',
  DISK_FULL: 'stop',
  STORE_UNAVAILABLE: 'wait',
  VERSION_MISMATCH: 'stop',
  COMMAND_FAILED: 'stop',
  ENGINE_BUG: 'stop',
  DIGEST_MISMATCH: 'stop',
  NOT_FOUND: 'stop',
  CORRUPT: 'stop',
  UNSAFE_PATH: 'stop',
  GATE_FAILED: 'stop',
  NOT_COMPARABLE: 'stop',
  NO_POOL: 'stop',
  NOT_ALLOWED: 'stop',
  ENDPOINT_DOWN: 'retry',
};

export function isFailureCode(text: string): text is FailureCode {
  return (failureCodes as readonly string[]).includes(text);
}

export interface FailureOptions {
  /** False where trying again is known to be in vain although the code would allow it. */
  retryable?: boolean;
  details?: Record<string, unknown>;
  cause?: unknown;
}

export class Failure extends Error {
  readonly code: FailureCode;
  readonly retryable: boolean;
  readonly details: Record<string, unknown>;

  constructor(code: FailureCode, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Failure';
    this.code = code;
    this.retryable = options.retryable ?? defaultAnswers[code] !== 'stop';
    this.details = options.details ?? {};
  }
}

export function isFailure(error: unknown, code?: FailureCode): error is Failure {
  return error instanceof Failure && (code === undefined || error.code === code);
}
