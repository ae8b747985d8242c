import {
  CancellationScope,
  continueAsNew,
  isCancellation,
  patched,
  proxyLocalActivities,
  setHandler,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { RunRequest, RunSummary } from '../activities/run-request.ts';
import type { StageState } from '../activities/stage-request.ts';
import type { Schedule } from './graph.ts';
import { actUpdate, budgetNewsSignal, changesQuery, type RunChanges } from './messages.ts';
import { PipelineRun } from './pipeline-run.ts';
import { StateAttribute } from './run-state.ts';

const { loadGraph, bindStages, finishRun } = proxyLocalActivities<Activities>({ startToCloseTimeout: '10m' });

/**
 * One run of one plan: binds stages as their inputs become known, takes what the store has, and
 * waits for the rest, with a cap on what is in flight. A failed stage blocks what reads it; other
 * branches go on.
 */
export async function runPipeline(request: RunRequest): Promise<RunSummary> {
  // Before anything is awaited: on replay a marker that comes after a local activity is seen too late.
  const isSpokenTo = patched('control');
  const bindsOnce = patched('bind-once');
  const graph = await CancellationScope.nonCancellable(() => loadGraph(request));
  const state = new StateAttribute();
  const run = new PipelineRun(request, graph, { log: followChanges(), isSpokenTo, bindsOnce, state });
  setHandler(actUpdate, (act) => run.obey(act));
  setHandler(budgetNewsSignal, (key, message) => {
    run.hearBudget(key, message);
  });
  let isCancelled = false;
  try {
    await run.follow(bindStages);
  } catch (error) {
    if (!isCancellation(error)) throw error;
    isCancelled = true;
  }
  await CancellationScope.nonCancellable(() => run.settle());
  if (run.isDraining && !run.schedule.isFinished && !isCancelled) await goOn(request, run);
  return await CancellationScope.nonCancellable(() => close(request, run.schedule, state));
}

/** What ended well is in the store and will be a hit; the rest is carried along, and nothing is recomputed twice. */
async function goOn({ recompute, ...request }: RunRequest, run: PipelineRun): Promise<never> {
  const { outcomes } = run.schedule;
  const ended = [...outcomes].filter(([, { kind }]) => kind !== 'cached' && kind !== 'ran');
  const ran = [...outcomes].flatMap(([name, outcome]) =>
    outcome.kind === 'ran' ? [[name, outcome.attempts] as const] : [],
  );
  const control = await run.control();
  const isDue = recompute !== undefined && !outcomes.has(recompute.stage);
  return await continueAsNew<typeof runPipeline>({
    ...request,
    ended,
    ran,
    control,
    ...(isDue ? { recompute } : {}),
  });
}

const problemsTold = 300;

/** The outcomes go into the store, the workflow returns only how many of each there are. */
async function close(
  request: RunRequest,
  schedule: Schedule,
  attribute: StateAttribute,
): Promise<RunSummary> {
  schedule.cancelRest();
  const counts = { cached: 0, ran: 0, failed: 0, cancelled: 0, blocked: 0 };
  for (const { kind } of schedule.outcomes.values()) counts[kind]++;
  const problems = [...schedule.outcomes].filter(([, { kind }]) => kind !== 'cached' && kind !== 'ran');
  const state = counts.failed > 0 ? 'failed' : counts.cancelled > 0 ? 'cancelled' : 'done';
  const summary: RunSummary = { run: request.run, state, counts, problems: problems.slice(0, problemsTold) };
  attribute.tell(state);
  await finishRun({
    request,
    summary,
    finishedAt: new Date().toISOString(),
    outcomes: [...schedule.outcomes],
  });
  return summary;
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
