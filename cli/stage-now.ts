import type { Client } from '@temporalio/client';
import type { Payload } from '@temporalio/common';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import { countPollers, millisecondsOf, type PoolWait } from './pool-queues.ts';
import type { StageProgress } from './progress.ts';

/** PendingActivityState of Temporal's API: asked for, and taken by no worker. */
const scheduled = 1;

/** How a stage at work stands by what Temporal knows of it, on whatever host its job is. */
export type StageNow =
  /** No worker of its pool has taken its attempt yet. */
  | { kind: 'queued'; wait: PoolWait }
  | { kind: 'at work'; host: string; since: Date; progress: StageProgress | undefined }
  /** Between two attempts, or publishing what it made. */
  | { kind: 'between' };

/** Throws when the stage has ended, or has not begun. */
export async function readStageNow(
  client: Client,
  { key, pool }: { key: StageKey; pool: string },
): Promise<StageNow> {
  const { pendingActivities } = await client.workflowService.describeWorkflowExecution({
    namespace: client.options.namespace,
    execution: { workflowId: `stage-${hexOf(key)}` },
  });
  const attempt = pendingActivities.find(({ activityType }) => activityType?.name === 'executeStage');
  if (attempt === undefined) return { kind: 'between' };
  if (Number(attempt.state) === scheduled) {
    const since = new Date(millisecondsOf(attempt.scheduledTime));
    return { kind: 'queued', wait: { pool, since, pollers: await countPollers(client, pool) } };
  }
  return {
    kind: 'at work',
    // A worker calls itself pid@host.
    host: (attempt.lastWorkerIdentity ?? '').replace(/^\d+@/, ''),
    since: new Date(millisecondsOf(attempt.lastStartedTime)),
    progress: toProgress(await decode(client, attempt.heartbeatDetails?.payloads?.[0])),
  };
}

export async function findPoolWait(
  client: Client,
  stage: { key: StageKey; pool: string },
): Promise<PoolWait | undefined> {
  const now = await readStageNow(client, stage);
  return now.kind === 'queued' ? now.wait : undefined;
}

/** What a supervisor beats with: see activities/supervise-job.ts. */
async function decode(client: Client, payload: Payload | undefined): Promise<unknown> {
  if (payload === undefined) return undefined;
  const { payloadCodecs, payloadConverter } = client.options.loadedDataConverter;
  let payloads = [payload];
  for (const codec of [...payloadCodecs].reverse()) payloads = await codec.decode(payloads);
  return payloads[0] === undefined ? undefined : payloadConverter.fromPayload(payloads[0]);
}

function toProgress(beat: unknown): StageProgress | undefined {
  if (typeof beat !== 'object' || beat === null) return undefined;
  const { attempt, step, total, unit, rate, loss } = beat as { [name in string]?: unknown };
  const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);
  return {
    attempt: number(attempt) ?? 1,
    step: number(step) ?? 0,
    total: number(total) ?? 0,
    unit: typeof unit === 'string' ? unit : 'steps',
    rate: number(rate),
    loss: number(loss),
  };
}
