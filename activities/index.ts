import { Context } from '@temporalio/activity';
import { StageWaiters, type AwaitOptions } from './await-stages.ts';
import { bindStages, type BindRequest } from './bind-stages.ts';
import type { ActivityDeps } from './deps.ts';
import { executeStage } from './execute-stage.ts';
import { finishRun, type FinishedRun } from './finish-run.ts';
import { lookUpStage } from './look-up-stage.ts';
import { measureSpent, type SpentRequest } from './measure-spent.ts';
import { noteAct, type ObeyedAct } from './note-act.ts';
import { notify, type Notice } from './notify.ts';
import { graphOf, readPlan } from './plan-document.ts';
import { publishStage } from './publish-stage.ts';
import type { RunRequest } from './run-request.ts';
import type { StageRequest } from './stage-request.ts';
import type { Pulse } from './supervise-job.ts';
import { tellStage, type StageWord } from './tell-stage.ts';
import { withFailureCodes } from './to-application-failure.ts';

/** Everything that workflows may ask for. Each may run twice. */
export function createActivities(deps: ActivityDeps) {
  const waiters = new StageWaiters(deps);
  return withFailureCodes({
    loadGraph: async (request: RunRequest) => graphOf(await readPlan(deps.store.documents, request.run)),
    bindStages: (request: BindRequest) => bindStages(deps, request),
    lookUpStage: (request: StageRequest) => lookUpStage(deps, request),
    awaitStages: (requests: readonly StageRequest[], options?: AwaitOptions) =>
      waiters.await(requests, temporalPulse(), options),
    leaveStages: (requests: readonly StageRequest[]) => waiters.leave(requests, temporalPulse()),
    tellStage: (word: StageWord) => tellStage(deps, word),
    noteAct: (act: ObeyedAct) => noteAct(deps, act),
    measureSpent: (spent: SpentRequest) => measureSpent(deps, spent),
    notify: (notice: Notice) => notify(deps, notice),
    executeStage: (request: StageRequest) => beatingAlong((pulse) => executeStage(deps, request, pulse)),
    publishStage: (request: StageRequest) => publishStage(deps, request),
    finishRun: (run: FinishedRun) => finishRun(deps, run),
  });
}

export type Activities = ReturnType<typeof createActivities>;

const beatMs = 1000;

/** Repeats the last heartbeat, so that no step in between, however long, looks like a lost worker. */
async function beatingAlong<T>(work: (pulse: Pulse) => Promise<T>): Promise<T> {
  const pulse = temporalPulse();
  let last: unknown;
  const timer = setInterval(() => {
    pulse.beat(last);
  }, beatMs);
  try {
    return await work({
      ...pulse,
      beat: (details) => {
        last = details;
        pulse.beat(details);
      },
    });
  } finally {
    clearInterval(timer);
  }
}

function temporalPulse(): Pulse {
  const context = Context.current();
  return {
    beat: (details) => {
      context.heartbeat(details);
    },
    signal: context.cancellationSignal,
    isStopAsked: () => {
      const details = context.cancellationDetails;
      return details?.cancelRequested === true || details?.paused === true;
    },
  };
}
