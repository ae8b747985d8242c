import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  TimeoutFailure,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { StageRequest, StageResult } from '../activities/stage-request.ts';
import { isFailureCode, type FailureCode } from '../core/errors.ts';
import { joinSignal, leaveSignal, waitersQuery } from './messages.ts';

const { lookUpStage } = proxyLocalActivities<Activities>({ startToCloseTimeout: '1m' });

/** Publishing is tried apart from computing, and for long: what was costly to make is not lost to a full disk. */
const { publishStage } = proxyLocalActivities<Activities>({
  startToCloseTimeout: '10m',
  retry: { maximumInterval: '30s' },
});

/** Not the stage's fault: tried again at once and not counted. */
const uncounted: ReadonlySet<FailureCode> = new Set<FailureCode>(['PREEMPTED', 'NODE_LOST', 'LEASE_LOST']);
const maxUncounted = 1000;

/**
 * One StageKey's work, shared by every run that wants it: the key is in the workflow id. The store
 * stays the truth, so its first act is to look its record up again (on the control pool the attempt
 * itself does that, and publishes: two tasks fewer). It is stopped when the last run
 * that wants it leaves.
 */
export async function runStage(request: StageRequest): Promise<StageResult> {
  const waiters = new Set([request.run]);
  const work = new CancellationScope();
  setHandler(joinSignal, (run) => void waiters.add(run));
  setHandler(waitersQuery, () => [...waiters]);
  setHandler(leaveSignal, (run) => {
    waiters.delete(run);
    if (waiters.size === 0) work.cancel();
  });
  try {
    return await work.run(() => findOrMake(request));
  } catch (error) {
    if (isCancellation(error) && waiters.size === 0) return { kind: 'cancelled' };
    throw error;
  }
}

async function findOrMake(request: StageRequest): Promise<StageResult> {
  if (!request.isControlPool) {
    const known = await lookUpStage(request);
    if (known !== undefined) return { kind: 'cached', outputs: known };
  }
  const { executeStage } = proxyActivities<Activities>({
    taskQueue: request.pool,
    startToCloseTimeout: '365d',
    heartbeatTimeout: request.heartbeatSeconds * 1000,
    retry: { maximumAttempts: 1 },
    cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  });
  let failures = 0;
  for (let tries = 1; ; tries++) {
    try {
      const end = await executeStage(request);
      if (end.kind === 'published') return end.result;
      break;
    } catch (error) {
      if (isCancellation(error)) throw error;
      const failure = readFailure(error);
      if (!uncounted.has(failure.code)) failures++;
      if (!failure.retryable || failures >= request.attempts || tries >= maxUncounted) {
        throw ApplicationFailure.create({
          type: failure.code,
          message: failure.message,
          nonRetryable: true,
          details: [{ attempts: tries }],
        });
      }
      await sleep(backoffMs(failures));
    }
  }
  return await CancellationScope.nonCancellable(() => publishStage(request));
}

/** Doubling from a second to a minute; nothing for what is not counted. */
function backoffMs(failures: number): number {
  return failures === 0 ? 100 : Math.min(60_000, 1000 * 2 ** (failures - 1));
}

interface SeenFailure {
  code: FailureCode;
  message: string;
  retryable: boolean;
}

/** A silent worker is a lost node; anything without a code of ours is our own bug and is not tried again. */
function readFailure(error: unknown): SeenFailure {
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
