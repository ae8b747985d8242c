import {
  ApplicationFailure,
  CancellationScope,
  condition,
  getExternalWorkflowHandle,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { StageRequest, StageResult } from '../activities/stage-request.ts';
import { FailurePolicy, readFailure } from './failure-policy.ts';
import {
  budgetNewsSignal,
  budgetSignal,
  joinSignal,
  leaveSignal,
  pauseSignal,
  resumeSignal,
  waitersQuery,
  workQuery,
  type StageWork,
} from './messages.ts';
import { Waiters } from './waiters.ts';

const { lookUpStage } = proxyLocalActivities<Activities>({ startToCloseTimeout: '1m' });

/** Publishing is tried apart from computing, and for long: what was costly to make is not lost to a full disk. */
const { publishStage } = proxyLocalActivities<Activities>({
  startToCloseTimeout: '10m',
  retry: { maximumInterval: '30s' },
});

/**
 * One StageKey's work, shared by every run that wants it: the key is in the workflow id. The store
 * stays the truth, so its first act is to look its record up again (on the control pool the attempt
 * itself does that, and publishes: two tasks fewer). It pauses when no run wants it now, and is
 * stopped when the last run that wants it leaves.
 */
export async function runStage(request: StageRequest): Promise<StageResult> {
  const waiters = new Waiters(request.run);
  const work: StageWork = { state: 'working', tries: 0, failure: null };
  let attempt = new CancellationScope();
  const look = (): void => {
    if (!waiters.isWanted) attempt.cancel();
  };
  setHandler(waitersQuery, () => waiters.names);
  setHandler(workQuery, () => work);
  setHandler(joinSignal, (run) => {
    waiters.join(run);
  });
  setHandler(leaveSignal, (run) => {
    waiters.leave(run);
    look();
  });
  setHandler(pauseSignal, (run) => {
    waiters.pause(run);
    look();
  });
  setHandler(resumeSignal, (run) => {
    waiters.resume(run);
  });
  setHandler(budgetSignal, (message) => {
    for (const run of waiters.names) tellRun(run, { key: request.key, message });
  });
  const policy = new FailurePolicy();
  for (;;) {
    await condition(() => waiters.isWanted || waiters.isEmpty);
    if (waiters.isEmpty) return { kind: 'cancelled' };
    work.state = 'working';
    attempt = new CancellationScope();
    try {
      return await attempt.run(() => findOrMake(request, { policy, work }));
    } catch (error) {
      const isAsked = isCancellation(error) && !CancellationScope.current().consideredCancelled;
      if (!isAsked) throw error;
      work.state = 'paused';
    }
  }
}

interface Progress {
  policy: FailurePolicy;
  work: StageWork;
}

async function findOrMake(asked: StageRequest, { policy, work }: Progress): Promise<StageResult> {
  if (!asked.isControlPool) {
    const known = await lookUpStage(asked);
    if (known !== undefined) return { kind: 'cached', outputs: known };
  }
  const { executeStage } = proxyActivities<Activities>({
    taskQueue: asked.pool,
    startToCloseTimeout: '365d',
    heartbeatTimeout: asked.heartbeatSeconds * 1000,
    retry: { maximumAttempts: 1 },
    cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  });
  let request = asked;
  for (;;) {
    work.tries++;
    work.state = 'working';
    try {
      const end = await executeStage(request);
      if (end.kind === 'published') return end.result;
      break;
    } catch (error) {
      if (isCancellation(error)) throw error;
      const failure = readFailure(error);
      work.failure = { code: failure.code, message: failure.message };
      const verdict = policy.judge(failure, request);
      if (verdict.kind === 'stop') {
        throw ApplicationFailure.create({
          type: failure.code,
          message: failure.message,
          nonRetryable: true,
          details: [{ attempts: work.tries }],
        });
      }
      request = verdict.request;
      work.state = 'retrying';
      await sleep(verdict.afterMs);
    }
  }
  return await CancellationScope.nonCancellable(() => publishStage(request));
}

/** A run that has ended hears nothing, and need not. */
function tellRun(run: string, { key, message }: { key: string; message: string }): void {
  void getExternalWorkflowHandle(`run-${run}`)
    .signal(budgetNewsSignal, key, message)
    .catch(() => undefined);
}
