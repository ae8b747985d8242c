import {
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  WorkflowNotFoundError,
  type WorkflowHandle,
} from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, TerminatedFailure } from '@temporalio/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { hexOf } from '../core/digest.ts';
import { isFailureCode } from '../core/errors.ts';
import type { ActivityDeps } from './deps.ts';
import type { StageOutcome, StageRequest, StageResult } from './stage-request.ts';
import type { Pulse } from './supervise-job.ts';

/** After the first stage has ended, others may end for so long before the workflow is told: one task, not many. */
const lingerMs = 100;

export interface AwaitOptions {
  /**
   * False: when the waiting is cancelled it just ends, and `leaveStages` says so to stages that the run
   * wants no more. Absent in runs that were started before that was told apart.
   */
  leaves?: boolean;
}

export interface AwaitedStages {
  ended: [stage: string, outcome: StageOutcome][];
}

type RunStage = (request: StageRequest) => Promise<StageResult>;
type StageHandle = WorkflowHandle<RunStage>;

/** One stage that one run waits for, kept from one activity to the next while this worker lives. */
interface Watch {
  handle: StageHandle | undefined;
  outcome: Promise<StageOutcome>;
  /** The run has left: nothing more is to be started. */
  isLeft: boolean;
  /** Another run had started the execution. */
  isJoined: boolean;
}

/**
 * Waits for the one execution of each of these stages, starting what nobody has started, and returns
 * soon after the first has ended. When the run is cancelled it leaves them all: a stage goes on while
 * another run waits for it, else it is stopped and its end awaited.
 */
export class StageWaiters {
  readonly #deps: ActivityDeps;
  readonly #watches = new Map<string, Watch>();

  constructor(deps: ActivityDeps) {
    this.#deps = deps;
  }

  async await(
    requests: readonly StageRequest[],
    pulse: Pulse,
    { leaves = true }: AwaitOptions = {},
  ): Promise<AwaitedStages> {
    const timer = setInterval(() => {
      pulse.beat(requests.length);
    }, beatOf(requests));
    const ended: AwaitedStages['ended'] = [];
    const follow = async (request: StageRequest): Promise<void> => {
      ended.push([request.stage, await this.#watch(request).outcome]);
    };
    try {
      const all = requests.map(follow);
      const first = await Promise.race([...all, aborted(pulse)]);
      if (first === 'aborted') throw leaves ? await this.#leave(requests, pulse) : this.#abandon(requests);
      await Promise.race([Promise.all(all), sleep(lingerMs)]);
      const told = [...ended];
      for (const [stage] of told) this.#forget(requests.find((request) => request.stage === stage));
      return { ended: told };
    } finally {
      clearInterval(timer);
    }
  }

  /** Says to these stages that the run wants them no more; those that nobody wants have ended by then. */
  async leave(requests: readonly StageRequest[], pulse: Pulse): Promise<void> {
    const timer = setInterval(() => {
      pulse.beat(requests.length);
    }, beatOf(requests));
    try {
      await Promise.all(requests.map((request) => this.#leaveOne(request)));
    } finally {
      clearInterval(timer);
    }
  }

  async #leaveOne(request: StageRequest): Promise<void> {
    const handle = this.#deps.client.workflow.getHandle<RunStage>(`stage-${hexOf(request.key)}`);
    try {
      await handle.signal('leave', request.run);
      const waiters = await handle.query<string[]>('waiters');
      if (waiters.length === 0) await handle.result();
    } catch (error) {
      // It has ended, in whatever way: that is what was wanted.
      if (!(error instanceof WorkflowNotFoundError) && !(error instanceof WorkflowFailedError)) throw error;
    }
  }

  /** Nothing that was watched here may start a stage again. */
  #abandon(requests: readonly StageRequest[]): CancelledFailure {
    for (const request of requests) {
      const watch = this.#watches.get(nameOf(request));
      if (watch !== undefined) watch.isLeft = true;
      this.#forget(request);
    }
    return new CancelledFailure('waiting has ended');
  }

  #watch(request: StageRequest): Watch {
    const known = this.#watches.get(nameOf(request));
    if (known !== undefined) return known;
    const watch: Watch = {
      handle: undefined,
      outcome: Promise.resolve({ kind: 'cancelled' }),
      isLeft: false,
      isJoined: false,
    };
    watch.outcome = this.#follow(request, watch);
    this.#watches.set(nameOf(request), watch);
    return watch;
  }

  /** A stage that was cancelled while this run still wants it is started again. */
  async #follow(request: StageRequest, watch: Watch): Promise<StageOutcome> {
    while (!watch.isLeft) {
      try {
        watch.handle = await join(this.#deps, request, watch);
        const result = await watch.handle.result();
        if (result.kind !== 'cancelled') return { ...result, key: request.key };
      } catch (error) {
        if (!(error instanceof WorkflowFailedError)) await sleep(1000);
        else {
          const outcome = toOutcome(error, request);
          // What was refused to the run that had started it need not be to this one.
          const isOthers = watch.isJoined && outcome.kind === 'failed' && outcome.code === 'NOT_ALLOWED';
          if (!isOthers) return outcome;
        }
      }
    }
    return { kind: 'cancelled', key: request.key };
  }

  async #leave(requests: readonly StageRequest[], pulse: Pulse): Promise<CancelledFailure> {
    if (!pulse.isStopAsked()) return new CancelledFailure('the worker leaves');
    await Promise.all(
      requests.map(async (request) => {
        const watch = this.#watches.get(nameOf(request));
        this.#forget(request);
        if (watch === undefined) return;
        watch.isLeft = true;
        await watch.handle?.signal('leave', request.run).catch(() => undefined);
        const waiters = (await watch.handle?.query<string[]>('waiters').catch(() => [])) ?? [];
        if (waiters.length === 0) await watch.outcome;
      }),
    );
    return new CancelledFailure('the run was cancelled');
  }

  #forget(request: StageRequest | undefined): void {
    if (request !== undefined) this.#watches.delete(nameOf(request));
  }
}

function beatOf(requests: readonly StageRequest[]): number {
  return ((requests[0]?.heartbeatSeconds ?? 15) * 1000) / 3;
}

const nameOf = ({ run, key }: StageRequest): string => `${run} ${key}`;

/** Starting makes this run the first waiter; a stage that is at work is joined by a signal. */
async function join(deps: ActivityDeps, request: StageRequest, watch: Watch): Promise<StageHandle> {
  const options = {
    workflowId: `stage-${hexOf(request.key)}`,
    workflowIdReusePolicy: 'ALLOW_DUPLICATE' as const,
    taskQueue: deps.queues.control,
    args: [request] as [StageRequest],
    staticSummary: `${request.stage} (${request.kind})`,
    ...(deps.version === undefined ? {} : { versioningOverride: { pinnedTo: deps.version } }),
  };
  try {
    watch.isJoined = false;
    return await deps.client.workflow.start<RunStage>('runStage', {
      ...options,
      workflowIdConflictPolicy: 'FAIL',
      requestEagerStart: true,
    });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    watch.isJoined = true;
    return await deps.client.workflow.signalWithStart<RunStage, [string]>('runStage', {
      ...options,
      signal: 'join',
      signalArgs: [request.run],
    });
  }
}

function aborted(pulse: Pulse): Promise<'aborted'> {
  return new Promise((resolve) => {
    if (pulse.signal.aborted) resolve('aborted');
    pulse.signal.addEventListener(
      'abort',
      () => {
        resolve('aborted');
      },
      { once: true },
    );
  });
}

function toOutcome(error: WorkflowFailedError, { key }: StageRequest): StageOutcome {
  const cause = error.cause;
  if (cause instanceof CancelledFailure || cause instanceof TerminatedFailure) {
    return { kind: 'failed', key, code: 'PREEMPTED', message: 'the stage was stopped by hand', attempts: 0 };
  }
  const failure = cause instanceof ApplicationFailure ? cause : undefined;
  const code = failure?.type ?? '';
  return {
    kind: 'failed',
    key,
    code: isFailureCode(code) ? code : 'ENGINE_BUG',
    message: cause?.message ?? error.message,
    attempts: attemptsIn(failure?.details?.[0]),
  };
}

function attemptsIn(details: unknown): number {
  return typeof details === 'object' && details !== null && 'attempts' in details
    ? Number(details.attempts)
    : 0;
}
