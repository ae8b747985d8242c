import { writeRunFinished, type RunFinished } from '../lineage/run.ts';
import { parseDigest } from '../core/digest.ts';
import type { ActivityDeps } from './deps.ts';
import { notify } from './notify.ts';
import type { RunRequest, RunSummary } from './run-request.ts';
import type { StageOutcome } from './stage-request.ts';

export interface FinishedRun {
  request: RunRequest;
  summary: RunSummary;
  /** By the workflow's clock, so that saying it twice is saying the same. */
  finishedAt: string;
  outcomes: readonly (readonly [stage: string, outcome: StageOutcome])[];
}

/** Writes down how a run ended. */
export async function finishRun(
  deps: ActivityDeps,
  { request, summary, finishedAt, outcomes }: FinishedRun,
): Promise<void> {
  await writeRunFinished(deps.store.documents, {
    schema: 'fretsaw/run-finished/v1',
    run: request.run,
    plan: parseDigest(request.planDigest),
    state: summary.state,
    finishedAt,
    stages: outcomes.map(([stage, outcome]) => toStageEnd(stage, outcome)),
  });
  await notify(deps, { request, news: { kind: 'done', state: summary.state }, at: finishedAt });
}

function toStageEnd(stage: string, outcome: StageOutcome): RunFinished['stages'][number] {
  const key = 'key' in outcome ? outcome.key : undefined;
  return {
    stage,
    outcome: outcome.kind,
    ...(key === undefined ? {} : { key }),
    ...('outputs' in outcome ? { outputs: outcome.outputs } : {}),
    ...(outcome.kind === 'failed' ? { failure: { code: outcome.code, message: outcome.message } } : {}),
    ...(outcome.kind === 'blocked' ? { blockedBy: outcome.by } : {}),
  };
}
