import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/workflow';
import type { StageRequest } from '../activities/stage-request.ts';
import { defaultAnswers, isFailureCode, type FailureCode } from '../core/errors.ts';

export interface SeenFailure {
  code: FailureCode;
  message: string;
  /** False when who threw it knows that trying again is in vain. */
  retryable: boolean;
}

/** A silent worker is a lost node; anything without a code of ours is our own bug and is not tried again. */
export function readFailure(error: unknown): SeenFailure {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure) {
    return { code: 'NODE_LOST', message: 'the worker fell silent', retryable: true };
  }
  if (cause instanceof ApplicationFailure) {
    const code = cause.type ?? '';
    return {
      code: isFailureCode(code) ? code : 'ENGINE_BUG',
      message: cause.message,
      retryable: isFailureCode(code) && cause.nonRetryable !== true,
    };
  }
  return { code: 'ENGINE_BUG', message: String(cause), retryable: false };
}

/** What to do next: give up, or try this request after a pause. */
export type Verdict = { kind: 'stop' } | { kind: 'again'; request: StageRequest; afterMs: number };

/** Tries that are not counted end some day too. */
const maxUncounted = 1000;
const shortMs = 100;
const longestMs = 60_000;

/**
 * The failures of one stage so far, judged by their codes' answers (core/errors.ts), which its spec
 * may override.
 */
export class FailurePolicy {
  #counted = 0;
  #uncounted = 0;
  /** `wait` failures since anything else happened. */
  #inARow = 0;

  judge(failure: SeenFailure, request: StageRequest): Verdict {
    const own = request.answers?.[failure.code];
    const answer = own ?? (failure.retryable ? defaultAnswers[failure.code] : 'stop');
    this.#inARow = answer === 'wait' ? this.#inARow + 1 : 0;
    switch (answer) {
      case 'stop':
        return { kind: 'stop' };
      case 'at_once':
        return this.#uncountedTry(request, shortMs);
      case 'wait':
        return this.#uncountedTry(request, this.#inARow === 1 ? shortMs : doubling(this.#inARow - 1));
      case 'smaller_batch': {
        const smaller = withSmallerBatch(request);
        return smaller === undefined ? { kind: 'stop' } : this.#countedTry(smaller);
      }
      case 'retry':
        return this.#countedTry(request);
    }
  }

  #countedTry(request: StageRequest): Verdict {
    if (++this.#counted >= request.attempts) return { kind: 'stop' };
    return { kind: 'again', request, afterMs: doubling(this.#counted) };
  }

  #uncountedTry(request: StageRequest, afterMs: number): Verdict {
    return ++this.#uncounted >= maxUncounted ? { kind: 'stop' } : { kind: 'again', request, afterMs };
  }
}

/** From a second to a minute. */
function doubling(failures: number): number {
  return Math.min(longestMs, 1000 * 2 ** (failures - 1));
}

/**
 * The largest part of a rank's batch that is at most half of what was tried: the rest accumulates, so
 * the sum over a step is the same, and so is the key.
 */
function withSmallerBatch(request: StageRequest): StageRequest | undefined {
  const { rankBatch, resources } = request;
  if (rankBatch === undefined) return undefined;
  const tried = resources.micro_batch ?? rankBatch;
  for (let size = Math.floor(tried / 2); size >= 1; size--) {
    if (rankBatch % size === 0) return { ...request, resources: { ...resources, micro_batch: size } };
  }
  return undefined;
}
