import { randomBytes } from 'node:crypto';
import type { Plan, PlannedStage } from '../compiler/plan.ts';
import type { StageKey } from '../core/keys.ts';
import { writeAct } from '../lineage/act.ts';
import { listAttempts } from '../lineage/attempt.ts';
import type { Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { kindVersions } from '../workers/kind-versions.ts';
import { parseSaying, type Saying } from './act-on-run.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { findRun, type StoredRun } from './find-run.ts';
import { resolvePlan } from './resolve-plan.ts';
import { renderCached } from './run-table.ts';

/**
 * A person lets a gate's broken rules pass. Who and why become settings of the gate, so they are part of its key: its verdict
 * still says what failed, and everything that comes of it has the override in its lineage. The run goes on from there.
 */
export const command: Command = {
  run: async (invocation) => {
    const saying = parseSaying(invocation, 'reason');
    const store = openHomeStore(homePaths(invocation.env, invocation.cwd));
    const before = await findRun(store, saying.run);
    const { stage, key } = await failedGate(store, before, saying);
    const { by, reason } = saying;
    const overridden: PlannedStage = { ...stage, with: { ...stage.with, override: { by, reason } } };
    const plan: Plan = {
      ...before.plan,
      stages: before.plan.stages.map((planned) => (planned === stage ? overridden : planned)),
    };
    await noteOverride(store, before, { key, saying });
    const kinds = new Set(plan.stages.map(({ kind }) => kind));
    const { versions } = kindVersions(invocation.installation.root, kinds);
    const resolved = await resolvePlan(plan, store, versions);
    if (resolved.misses.length === 0) {
      await renderCached(plan, resolved, { invocation, store });
      return exitCodes.ok;
    }
    const { runLive } = await import('./run-live.ts');
    const retry = {
      ...{ run: before.started.run, stage: stage.name, reason, resources: {} },
      with: { override: `by ${by}` },
    };
    const run = { spec: plan.spec.path, params: {}, maxInFlight: 64, waitForPools: false, retry };
    return await runLive({ invocation, choice: run, plan, resolved, store });
  },
};

/** Only what has failed can be overridden: a gate that was not judged yet has nothing to let pass. */
async function failedGate(
  store: Store,
  run: StoredRun,
  { stage: name }: Saying,
): Promise<{ stage: PlannedStage; key: StageKey }> {
  const stage = gateNamed(run, name);
  const end = run.finished?.stages.find((ended) => ended.stage === name);
  if (end?.key !== undefined && end.outcome === 'failed') {
    const last = (await listAttempts(store.documents, end.key)).at(-1);
    if (last?.failure?.code === 'GATE_FAILED') return { stage, key: end.key };
  }
  const how = end?.outcome ?? 'it has not ended';
  throw new UsageError(`no broken rule of ${stage.name} stopped run ${run.started.run}: ${how}`);
}

function gateNamed({ started, plan }: StoredRun, name: string | undefined): PlannedStage {
  if (name === undefined) throw new UsageError('expected a run and its gate');
  const stage = plan.stages.find((planned) => planned.name === name);
  if (stage === undefined) throw new UsageError(`run ${started.run} has no stage ${name}`);
  if (stage.kind !== 'gate') throw new UsageError(`${name} is a stage of kind ${stage.kind}, not a gate`);
  return stage;
}

/** Beside the run whose gate failed, about the very key that failed. */
async function noteOverride(
  store: Store,
  { started }: StoredRun,
  { key, saying }: { key: StageKey; saying: Saying },
): Promise<void> {
  const { stage, by, reason } = saying;
  await writeAct(
    store.documents,
    {
      schema: 'fretsaw/act/v1',
      run: started.run,
      id: `${Date.now().toString(36)}-${randomBytes(4).toString('hex')}`,
      act: 'override',
      ...(stage === undefined ? {} : { stage }),
      ...{ key, by, reason, at: new Date().toISOString() },
    },
    started.plan,
  );
}
