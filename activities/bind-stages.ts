import { bindKey } from '../compiler/bind.ts';
import type { PlannedStage, Source } from '../compiler/plan.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import { hexOf, type Digest } from '../core/digest.ts';
import { stageKey, type StageKey } from '../core/keys.ts';
import { kindNamed } from '../kinds/registry.ts';
import type { ActivityDeps } from './deps.ts';
import { findRecord } from './look-up-stage.ts';
import { readPlan } from './plan-document.ts';
import type { RunRequest } from './run-request.ts';
import type { Outputs, StageOutcome, StageRequest } from './stage-request.ts';

export interface BindRequest {
  request: RunRequest;
  /** Stages all of whose inputs are known. */
  ready: readonly string[];
  /** Outputs of the stages that these read. */
  known: readonly (readonly [stage: string, outputs: Outputs])[];
}

export interface Bound {
  hits: { name: string; key: StageKey; outputs: Outputs }[];
  /** What has to be made, or waited for. */
  requests: StageRequest[];
  failed: { name: string; outcome: StageOutcome }[];
}

/**
 * Makes keys of the stages whose inputs are known and looks them up, and goes on behind every hit, so
 * that one call resolves a whole finished pipeline.
 */
export async function bindStages(deps: ActivityDeps, { request, ready, known }: BindRequest): Promise<Bound> {
  const plan = await readPlan(deps.store.documents, request.run);
  const outputs = new Map<string, Outputs>(known);
  const bound: Bound = { hits: [], requests: [], failed: [] };
  const queue = [...ready];
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    const stage = plan.byName.get(name);
    if (stage === undefined) throw new Error(`bug: no stage ${name} in the plan of run ${request.run}`);
    const document = bindKey(stage, (source) => digestOf(stage, source, outputs), deps.versions);
    const key = stageKey(document, deps.sha256);
    const recompute = await generationToMake(deps, name, { request, key });
    const hit = recompute === undefined ? await findRecord(deps.store, key) : undefined;
    if (hit === undefined) {
      await deps.store.documents.create(`keys/${hexOf(key)}`, canonicalJson(document));
      bound.requests.push(requestFor(deps, { request, stage, key, recompute }));
      continue;
    }
    outputs.set(name, hit);
    bound.hits.push({ name, key, outputs: hit });
    for (const reader of plan.readers.get(name) ?? []) {
      const isReady = plan.byName.get(reader)?.after.every((before) => outputs.has(before)) === true;
      if (isReady && !queue.includes(reader)) queue.push(reader);
    }
  }
  deps.metrics.lookedUp({ hits: bound.hits.length, misses: bound.requests.length });
  return bound;
}

function digestOf(stage: PlannedStage, source: Source, outputs: ReadonlyMap<string, Outputs>): Digest {
  const ref = outputs.get(source.stage)?.[source.output];
  if (ref === undefined)
    throw new Error(`bug: ${stage.name} is bound before ${source.stage}.${source.output} is known`);
  return ref.digest;
}

/** A stage to recompute asks for the generation after the one that holds when its run comes to it. */
async function generationToMake(
  deps: ActivityDeps,
  name: string,
  { key, request }: Bind,
): Promise<StageRequest['recompute']> {
  if (request.recompute?.stage !== name) return undefined;
  const latest = await deps.store.records.latest(key);
  return { generation: (latest?.generation ?? 0) + 1, reason: request.recompute.reason };
}

interface Bind {
  request: RunRequest;
  key: StageKey;
}

interface Found {
  request: RunRequest;
  stage: PlannedStage;
  key: StageKey;
  recompute: StageRequest['recompute'];
}

type Limits = Pick<StageRequest, 'answers' | 'stall' | 'budget' | 'rankBatch' | 'approve' | 'fromStep'>;

function limitsOf({
  kind,
  with: settings,
  retry,
  budget,
  approve,
  fromStep,
  resources,
}: PlannedStage): Limits {
  const sequences = kindNamed(kind).sequencesPerStep?.(settings);
  return {
    ...(retry.on === undefined ? {} : { answers: retry.on }),
    ...(retry.stalled === undefined ? {} : { stall: retry.stalled }),
    ...(budget === undefined ? {} : { budget }),
    ...(approve === undefined ? {} : { approve }),
    ...(fromStep === undefined ? {} : { fromStep }),
    ...(sequences === undefined
      ? {}
      : {
          rankBatch: Math.floor(
            (sequences * (resources.context_parallel ?? 1)) / Math.max(1, resources.gpus),
          ),
        }),
  };
}

function requestFor(deps: ActivityDeps, { request, stage, key, recompute }: Found): StageRequest {
  return {
    run: request.run,
    stage: stage.name,
    kind: stage.kind,
    key,
    pool: deps.poolQueue(stage.pool),
    isControlPool: deps.poolQueue(stage.pool) === deps.queues.control,
    attempts: stage.retry.attempts,
    ...limitsOf(stage),
    resources: stage.resources,
    secrets: stage.secrets,
    heartbeatSeconds: request.heartbeatSeconds,
    leaseSeconds: request.leaseSeconds,
    ...(recompute === undefined ? {} : { recompute }),
  };
}
