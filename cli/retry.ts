import { parseArgs } from 'node:util';
import { changeStage, planAround } from '../compiler/change-stage.ts';
import type { Plan, PlannedStage } from '../compiler/plan.ts';
import { shortDigest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { kindNamed } from '../kinds/registry.ts';
import type { RunRetry } from '../lineage/run.ts';
import type { Store, StoredSnapshot } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { kindVersions } from '../workers/kind-versions.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { printDiagnostics } from './diagnostics.ts';
import { findRun, keysOfRun, type StoredRun } from './find-run.ts';
import { parseParam } from './load-plan.ts';
import { resolvePlan } from './resolve-plan.ts';
import { renderCached } from './run-table.ts';

interface RetryChoice {
  run: string;
  stage: string | undefined;
  fromSnapshot: number | undefined;
  with: Record<string, string>;
  resources: Record<string, string>;
  reason: string;
}

/**
 * Runs the plan of an earlier run again: what it made is taken, what failed is tried once more. With
 * `--with` a stage asks for something else; it goes on from a snapshot of what it was.
 */
export const command: Command = {
  async run(invocation) {
    const choice = parseChoice(invocation.args);
    const store = openHomeStore(homePaths(invocation.env, invocation.cwd));
    const before = await findRun(store, choice.run);
    const plan = await planRetry(before, { choice, store, invocation });
    if (plan === undefined) return exitCodes.usage;
    const { versions } = kindVersions(
      invocation.installation.root,
      new Set(plan.stages.map(({ kind }) => kind)),
    );
    const resolved = await resolvePlan(plan, store, versions);
    if (resolved.misses.length === 0) {
      await renderCached(plan, resolved, { invocation, store });
      return exitCodes.ok;
    }
    const { runLive } = await import('./run-live.ts');
    const retry = noteOf(before, choice, plan);
    const run = { spec: plan.spec.path, params: {}, maxInFlight: 64, waitForPools: false, retry };
    return await runLive({ invocation, choice: run, plan, resolved, store });
  },
};

interface Around {
  choice: RetryChoice;
  store: Store;
  invocation: Invocation;
}

async function planRetry(before: StoredRun, around: Around): Promise<Plan | undefined> {
  const { choice, invocation } = around;
  const { stage: name } = choice;
  if (name === undefined) return before.plan;
  const stage = before.plan.stages.find((planned) => planned.name === name);
  if (stage === undefined) throw new UsageError(`run ${before.started.run} has no stage ${name}`);
  const changed = changeStage(stage, choice);
  if (!changed.ok) {
    printDiagnostics(changed.error, invocation);
    return undefined;
  }
  const resumed = await goOnFrom(changed.value, before, around);
  const plan = planAround(before.plan, name);
  return { ...plan, stages: plan.stages.map((planned) => (planned.name === name ? resumed : planned)) };
}

/** With other settings the key is another, and the snapshot one of its inputs; else only where to resume. */
async function goOnFrom(stage: PlannedStage, before: StoredRun, around: Around): Promise<PlannedStage> {
  const { choice, store, invocation } = around;
  const isOther = Object.keys(choice.with).length > 0;
  const key = (await keysOfRun(store, before, invocation.installation.root)).get(stage.name);
  const snapshots = key === undefined ? [] : await store.snapshots.list(key);
  const chosen = pick(snapshots, stage.name, choice.fromSnapshot);
  if (!isOther) {
    if (choice.fromSnapshot === undefined || key === undefined) return stage;
    if ((await store.records.latest(key)) !== undefined)
      throw new UsageError(
        `${stage.name} is made: --from-snapshot goes on with what is not. --with asks for something else`,
      );
    const attempts = (await store.leases.latest(key))?.attempt ?? 0;
    return { ...stage, fromStep: { step: choice.fromSnapshot, attempts } };
  }
  const settings = Object.entries(choice.with).map(([name, value]) => `${name} ${value}`);
  const snapshot = kindNamed(stage.kind).canContinue === true ? chosen : undefined;
  if (snapshot === undefined) {
    if (choice.fromSnapshot !== undefined)
      throw new UsageError(`${stage.name}: ${stage.kind} cannot go on from a snapshot of another key`);
    invocation.terminal.err(`${stage.name}: a new key with ${settings.join(', ')}, from the start\n`);
    return stage;
  }
  invocation.terminal.err(
    `${stage.name}: a new key with ${settings.join(', ')}; it continues from step ${snapshot.step} of ${shortDigest(snapshot.key)} (attempt ${snapshot.attempt})\n`,
  );
  const { key: from, attempt, step, artifact } = snapshot;
  return { ...stage, continues: { artifact: artifact.digest, key: from, attempt, step } };
}

/** The newest, or that of a step; NOT_FOUND names the steps that there are. */
function pick(
  snapshots: readonly StoredSnapshot[],
  stage: string,
  step: number | undefined,
): StoredSnapshot | undefined {
  if (step === undefined) return snapshots[0];
  const found = snapshots.find((snapshot) => snapshot.step === step);
  if (found !== undefined) return found;
  const steps = [...new Set(snapshots.map((snapshot) => snapshot.step))].sort((a, b) => a - b);
  const known = steps.length === 0 ? 'it has none' : `there are ${steps.join(', ')}`;
  throw new Failure('NOT_FOUND', `${stage}: no snapshot of step ${step}: ${known}`, { retryable: false });
}

function noteOf({ started }: StoredRun, choice: RetryChoice, plan: Plan): RunRetry {
  const { stage, reason } = choice;
  const continues = plan.stages.find(({ name }) => name === stage)?.continues;
  return {
    run: started.run,
    reason,
    with: choice.with,
    resources: choice.resources,
    ...(stage === undefined ? {} : { stage }),
    ...(continues === undefined ? {} : { continues }),
  };
}

function parseChoice(args: string[]): RetryChoice {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      'from-snapshot': { type: 'string' },
      with: { type: 'string', multiple: true, default: [] },
      resource: { type: 'string', multiple: true, default: [] },
      reason: { type: 'string', default: '' },
    },
  });
  const [run, stage, ...more] = positionals;
  if (run === undefined || more.length > 0)
    throw new UsageError('expected a run (or `last`) and perhaps a stage');
  const fromSnapshot = values['from-snapshot'] === undefined ? undefined : Number(values['from-snapshot']);
  if (fromSnapshot !== undefined && !Number.isInteger(fromSnapshot))
    throw new UsageError(`--from-snapshot: expected a step, found ${values['from-snapshot'] ?? ''}`);
  const choice: RetryChoice = {
    run,
    stage,
    fromSnapshot,
    with: Object.fromEntries(values.with.map(parseParam)),
    resources: Object.fromEntries(values.resource.map(parseParam)),
    reason: values.reason,
  };
  const isChanging = fromSnapshot !== undefined || values.with.length + values.resource.length > 0;
  if (stage === undefined && isChanging)
    throw new UsageError('--with, --resource and --from-snapshot are about one stage: name it');
  return choice;
}
