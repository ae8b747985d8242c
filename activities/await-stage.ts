import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, TerminatedFailure } from '@temporalio/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { hexOf } from '../core/digest.ts';
import { isFailureCode } from '../core/errors.ts';
import type { ActivityDeps } from './deps.ts';
import type { StageOutcome, StageRequest, StageResult } from './stage-request.ts';
import type { Pulse } from './supervise-job.ts';

const beatMs = 5000;

/**
 * Waits for the one execution of a stage, starting it if there is none. When this run is cancelled it
 * leaves; the stage goes on while another run waits for it, else it is stopped and its end awaited.
 */
export async function awaitStage(deps: ActivityDeps, request: StageRequest, pulse: Pulse): Promise<StageOutcome> {
  const timer = setInterval(() => { pulse.beat({ key: request.key }); }, beatMs);
  try {
    for (;;) {
      const handle = await join(deps, request);
      const outcome = await followUnlessCancelled(handle, request, pulse);
      if (outcome !== 'again') return outcome;
    }
  } finally {
    clearInterval(timer);
  }
}

type StageHandle = WorkflowHandle<(request: StageRequest) => Promise<StageResult>>;

async function join(deps: ActivityDeps, request: StageRequest): Promise<StageHandle> {
  return await deps.client.workflow.signalWithStart<(request: StageRequest) => Promise<StageResult>, [string]>('runStage', {
    workflowId: `stage-${hexOf(request.key)}`,
    workflowIdReusePolicy: 'ALLOW_DUPLICATE',
    taskQueue: deps.queues.control,
    args: [request],
    signal: 'join',
    signalArgs: [request.run],
    staticSummary: `${request.stage} (${request.kind})`,
  });
}

async function followUnlessCancelled(handle: StageHandle, request: StageRequest, pulse: Pulse): Promise<StageOutcome | 'again'> {
  const aborted = new Promise<'aborted'>((resolve) => {
    if (pulse.signal.aborted) resolve('aborted');
    pulse.signal.addEventListener('abort', () => { resolve('aborted'); }, { once: true });
  });
  const end = follow(handle, request);
  const first = await Promise.race([end, aborted]);
  if (first !== 'aborted') return first;
  void end.catch(() => undefined);
  if (!pulse.isStopAsked()) throw new CancelledFailure('the worker leaves');
  await handle.signal('leave', request.run).catch(() => undefined);
  const waiters = await handle.query<string[]>('waiters').catch(() => []);
  if (waiters.length === 0) await end.catch(() => undefined);
  throw new CancelledFailure('the run was cancelled');
}

async function follow(handle: StageHandle, request: StageRequest): Promise<StageOutcome | 'again'> {
  try {
    const result = await handle.result();
    if (result.kind !== 'cancelled') return { ...result, key: request.key };
    return 'again';
  } catch (error) {
    if (error instanceof WorkflowFailedError) return toOutcome(error, request);
    await sleep(1000);
    return 'again';
  }
}

function toOutcome(error: WorkflowFailedError, { key }: StageRequest): StageOutcome {
  const cause = error.cause;
  if (cause instanceof CancelledFailure || cause instanceof TerminatedFailure) {
    return { kind: 'failed', key, code: 'PREEMPTED', message: 'the stage was stopped by hand', attempts: 0 };
  }
  const code = cause instanceof ApplicationFailure ? (cause.type ?? '') : '';
  const details: unknown = cause instanceof ApplicationFailure ? cause.details?.[0] : undefined;
  const attempts = typeof details === 'object' && details !== null && 'attempts' in details ? Number(details.attempts) : 0;
  return { kind: 'failed', key, code: isFailureCode(code) ? code : 'ENGINE_BUG', message: cause?.message ?? error.message, attempts };
}
