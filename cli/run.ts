import { parseArgs } from 'node:util';
import type { Plan } from '../compiler/plan.ts';
import type { RunRetry } from '../lineage/run.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { kindVersions } from '../workers/kind-versions.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { bulkStore } from './bulk-store.ts';
import { printDiagnostics } from './diagnostics.ts';
import { loadPlan, parseParam } from './load-plan.ts';
import { pinLocalImports } from './pin-imports.ts';
import { resolvePlan, type Resolved } from './resolve-plan.ts';
import { renderCached } from './run-table.ts';

export interface RunChoice {
  spec: string;
  profile?: string;
  params: Record<string, string>;
  recompute?: { stage: string; reason: string };
  /** Another try of an earlier run. */
  retry?: RunRetry;
  maxInFlight: number;
  /** Start although nobody serves a pool that a stage asks for. */
  waitForPools: boolean;
}

/** Makes what a spec asks for. When the store has all of it, nothing of Temporal is even loaded. */
export const command: Command = {
  async run(invocation) {
    const choice = parseChoice(invocation.args);
    const loaded = loadPlan(choice.spec, choice, invocation);
    if (!loaded.ok) {
      printDiagnostics(loaded.error, invocation);
      return exitCodes.usage;
    }
    checkRecompute(loaded.value, choice);
    const home = homePaths(invocation.env, invocation.cwd);
    const plan = await pinLocalImports(loaded.value, home.root);
    const store = openHomeStore(home);
    const { versions } = kindVersions(
      invocation.installation.root,
      new Set(plan.stages.map(({ kind }) => kind)),
    );
    const resolved = await resolvePlan(plan, await bulkStore(store, plan, versions), versions);
    if (resolved.misses.length === 0 && choice.recompute === undefined) {
      await renderCached(plan, resolved, { invocation, store });
      return exitCodes.ok;
    }
    const { runLive } = await import('./run-live.ts');
    return await runLive({ invocation, choice, plan, resolved, store });
  },
};

export interface LiveRun {
  invocation: Invocation;
  choice: RunChoice;
  plan: Plan;
  resolved: Resolved;
  store: ReturnType<typeof openHomeStore>;
}

function parseChoice(args: string[]): RunChoice {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      profile: { type: 'string' },
      param: { type: 'string', multiple: true, default: [] },
      recompute: { type: 'string' },
      reason: { type: 'string' },
      'max-in-flight': { type: 'string', default: '64' },
      'wait-for-pools': { type: 'boolean', default: false },
    },
  });
  const [spec, ...more] = positionals;
  if (spec === undefined || more.length > 0) throw new UsageError('expected one spec file');
  if ((values.recompute === undefined) !== (values.reason === undefined)) {
    throw new UsageError('--recompute and --reason go together: the reason is kept in the new record');
  }
  const maxInFlight = Number(values['max-in-flight']);
  if (!Number.isInteger(maxInFlight) || maxInFlight < 1 || maxInFlight > 1000) {
    throw new UsageError(`--max-in-flight: expected 1 to 1000, found ${values['max-in-flight']}`);
  }
  const { recompute, reason } = values;
  return {
    spec,
    maxInFlight,
    waitForPools: values['wait-for-pools'],
    params: Object.fromEntries(values.param.map(parseParam)),
    ...(values.profile === undefined ? {} : { profile: values.profile }),
    ...(recompute === undefined || reason === undefined ? {} : { recompute: { stage: recompute, reason } }),
  };
}

function checkRecompute(plan: Plan, { recompute }: RunChoice): void {
  if (recompute === undefined || plan.stages.some(({ name }) => name === recompute.stage)) return;
  throw new UsageError(`--recompute: the plan has no stage ${recompute.stage}`);
}
