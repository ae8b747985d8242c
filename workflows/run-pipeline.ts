import {
  CancellationScope,
  allHandlersFinished,
  condition,
  continueAsNew,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { RunRequest, RunSummary } from '../activities/run-request.ts';
import type { StageOutcome, StageRequest, StageState } from '../activities/stage-request.ts';
import { changesQuery, type RunChanges } from './messages.ts';
import { Schedule } from './graph.ts';

const { loadGraph, bindStages, finishRun } = proxyLocalActivities<Activities>({ startToCloseTimeout: '10m' });

/**
 * One run of one plan: binds stages as their inputs become known, takes what the store has, and
 * waits for the rest, with a cap on what is in flight. A failed stage blocks what reads it; other
 * branches go on.
 */
export async function runPipeline(request: RunRequest): Promise<RunSummary> {
  const schedule = new Schedule(await CancellationScope.nonCancellable(() => loadGraph(request)));
  const log = followChanges();
  const isDraining = (): boolean => workflowInfo().continueAsNewSuggested;
  const end = (name: string, outcome: StageOutcome): void => {
    for (const [ended, how] of schedule.end(name, outcome)) log(ended, how);
  };
  for (const [name, outcome] of request.ended ?? []) end(name, outcome);

  /** Started, and not waited for by any activity now. */
  const started: StageRequest[] = [];
  /** Bound, and not started. */
  const unfollowed: StageRequest[] = [];
  let inFlight = 0;
  let activities = 0;
  const { awaitStages } = proxyActivities<Activities>({
    taskQueue: request.queues.waiters,
    startToCloseTimeout: '365d',
    heartbeatTimeout: request.heartbeatSeconds * 1000,
    cancellationType: 'WAIT_CANCELLATION_COMPLETED',
    retry: { maximumInterval: '10s' },
  });
  const follow = async (stages: StageRequest[]): Promise<void> => {
    activities++;
    let left = stages;
    try {
      const { ended } = await awaitStages(stages);
      const names = new Set(ended.map(([name]) => name));
      left = stages.filter(({ stage }) => !names.has(stage));
      for (const [name, outcome] of ended) end(name, outcome);
      started.push(...left);
    } catch (error) {
      for (const stage of stages) end(stage.stage, endOfFollow(error, stage));
      left = [];
    } finally {
      inFlight -= stages.length - left.length;
      activities--;
    }
  };
  try {
    for (;;) {
      const ready = schedule.takeReady();
      if (ready.length > 0) {
        const bound = await bindStages({ request, ready, known: schedule.inputsOf(ready) });
        for (const stage of bound.hits)
          end(stage.name, { kind: 'cached', key: stage.key, outputs: stage.outputs });
        for (const stage of bound.failed) end(stage.name, stage.outcome);
        unfollowed.push(...bound.requests);
        continue;
      }
      const batch = started.splice(0);
      const room = isDraining() ? 0 : request.maxInFlight - inFlight;
      const fresh = unfollowed.splice(0, room);
      for (const stage of fresh) log(stage.stage, { kind: 'running', key: stage.key });
      inFlight += fresh.length;
      batch.push(...fresh);
      if (batch.length > 0) void follow(batch);
      if (inFlight === 0) break;
      const before = schedule.outcomes.size;
      await condition(() => schedule.outcomes.size > before || started.length > 0 || activities === 0);
    }
  } catch (error) {
    if (!isCancellation(error)) throw error;
    await CancellationScope.nonCancellable(() => condition(() => activities === 0));
  }
  if (!schedule.isFinished && isDraining() && !CancellationScope.current().consideredCancelled) {
    await condition(allHandlersFinished);
    const ended = [...schedule.outcomes].filter(
      ([, outcome]) => outcome.kind === 'failed' || outcome.kind === 'blocked',
    );
    await continueAsNew<typeof runPipeline>({ ...request, ended });
  }
  return await CancellationScope.nonCancellable(() => close(request, schedule));
}

const problemsTold = 300;

/** The outcomes go into the store, the workflow returns only how many of each there are. */
async function close(request: RunRequest, schedule: Schedule): Promise<RunSummary> {
  for (const name of schedule.takeReady()) schedule.end(name, { kind: 'cancelled' });
  const counts = { cached: 0, ran: 0, failed: 0, cancelled: 0, blocked: 0 };
  for (const outcome of schedule.outcomes.values()) counts[outcome.kind]++;
  const state =
    counts.failed > 0 ? 'failed' : schedule.isFinished && counts.cancelled === 0 ? 'done' : 'cancelled';
  const problems = [...schedule.outcomes].filter(([, { kind }]) => kind !== 'cached' && kind !== 'ran');
  const summary: RunSummary = { run: request.run, state, counts, problems: problems.slice(0, problemsTold) };
  await finishRun({
    request,
    summary,
    finishedAt: new Date().toISOString(),
    outcomes: [...schedule.outcomes],
  });
  return summary;
}

function endOfFollow(error: unknown, stage: StageRequest): StageOutcome {
  if (isCancellation(error)) return { kind: 'cancelled', key: stage.key };
  const message =
    error instanceof Error
      ? error.cause instanceof Error
        ? error.cause.message
        : error.message
      : String(error);
  return { kind: 'failed', key: stage.key, code: 'ENGINE_BUG', message, attempts: 0 };
}

/** Serves the `changes` query; returns the function that notes a change. */
function followChanges(): (name: string, state: StageState) => void {
  const changes: [string, StageState][] = [];
  setHandler(changesQuery, (since): RunChanges => {
    const last = new Map(changes.slice(since));
    return { next: changes.length, stages: [...last] };
  });
  return (name, state) => void changes.push([name, state]);
}
