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
  'NO_POOL',
] as const;

export type FailureCode = (typeof failureCodes)[number];

/** What is worth trying again without a person changing anything. */
const retryableCodes: ReadonlySet<FailureCode> = new Set<FailureCode>([
  'PREEMPTED',
  'LEASE_LOST',
  'NODE_LOST',
  'TIMEOUT',
  'STALLED',
  'STORE_UNAVAILABLE',
  'RESUME_DRIFT',
]);

export function isFailureCode(text: string): text is FailureCode {
  return (failureCodes as readonly string[]).includes(text);
}

export interface FailureOptions {
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
    this.retryable = options.retryable ?? retryableCodes.has(code);
    this.details = options.details ?? {};
  }
}

export function isFailure(error: unknown, code?: FailureCode): error is Failure {
  return error instanceof Failure && (code === undefined || error.code === code);
}
