import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { isFailure, type Failure } from '../core/errors.ts';

/**
 * The one place where the world's failures become Temporal's: type = code, nonRetryable = !retryable.
 * A full disk or lost permission outside our own classes is given its code here as well.
 */
export function toApplicationFailure(error: unknown): Error {
  if (error instanceof CancelledFailure || error instanceof ApplicationFailure) return error;
  if (isFailure(error)) {
    return ApplicationFailure.create({
      type: error.code,
      message: error.message,
      nonRetryable: !error.retryable,
      details: [numbersOf(error)],
    });
  }
  if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') {
    return ApplicationFailure.create({ type: 'DISK_FULL', message: error.message, nonRetryable: true });
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return ApplicationFailure.create({ type: 'ENGINE_BUG', message, nonRetryable: true });
}

/** Text that a job wrote stays in its attempt's note and log: histories hold names, numbers and digests. */
function numbersOf({ details }: Failure): Record<string, unknown> {
  return Object.fromEntries(Object.entries(details).filter(([, value]) => typeof value === 'number'));
}

/** Wraps every function of `activities` so that what it throws has a code. */
export function withFailureCodes<T extends Record<string, (...args: never[]) => Promise<unknown>>>(
  activities: T,
): T {
  const wrapped = Object.entries(activities).map(([name, run]) => [
    name,
    async (...args: never[]): Promise<unknown> => {
      try {
        return await run(...args);
      } catch (error) {
        throw toApplicationFailure(error);
      }
    },
  ]);
  return Object.fromEntries(wrapped) as T;
}
