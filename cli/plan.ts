import { parseArgs } from 'node:util';
import { comparePlans, type StageChange } from '../compiler/compare-plans.ts';
import type { Plan } from '../compiler/plan.ts';
import { resolve as resolvePlan, type Resolution } from '../compiler/resolve.ts';
import type { Range } from '../kinds/kind.ts';
import { jsonDifference } from '../lineage/json-difference.ts';
import { sha256Text } from '../store/sha256.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { kindVersions } from '../workers/kind-versions.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { bulkStore } from './bulk-store.ts';
import { printDiagnostics } from './diagnostics.ts';
import { gitSpecReader } from './git-spec.ts';
import { loadPlan, parseParam, parsePrice, type SpecChoice } from './load-plan.ts';
import { changesText, planText } from './plan-text.ts';
import { planPools, poolsText } from './plan-pools.ts';
import { planSizes } from './plan-sizes.ts';
import { storeLookups } from './store-lookups.ts';

export interface PlanChoice extends SpecChoice {
  spec: string;
  /** A git revision to compare with. */
  against?: string;
  /** What a GPU costs for an hour, in whatever money. */
  price?: number;
}

/** What a run would do, why, and for how much. Nothing is started, nothing is written. */
export const command: Command = {
  run: (invocation) => plan(parseChoice(invocation.args), invocation),
};

export async function plan(choice: PlanChoice, invocation: Invocation): Promise<number> {
  const loaded = loadPlan(choice.spec, choice, invocation);
  if (!loaded.ok) {
    printDiagnostics(loaded.error, invocation);
    return exitCodes.usage;
  }
  const changes =
    choice.against === undefined
      ? undefined
      : changesAgainst(choice.against, { choice, plan: loaded.value, invocation });
  const { terminal, json, installation } = invocation;
  const home = homePaths(invocation.env, invocation.cwd);
  const store = openHomeStore(home);
  const { versions } = kindVersions(installation.root, new Set(loaded.value.stages.map(({ kind }) => kind)));
  const resolution = await resolvePlan(loaded.value, {
    lookups: storeLookups(await bulkStore(store, loaded.value, versions), home.root),
    versions,
    sha256: sha256Text,
    compare: jsonDifference,
    sizes: planSizes(loaded.value.stages),
  });
  const pools = await planPools(loaded.value, resolution, invocation);
  if (json) {
    const against = changes === undefined ? {} : { against: { revision: choice.against, changes } };
    terminal.out(
      `${JSON.stringify({ ...resolution, pools, ...against, ...priceOf(resolution, choice.price) })}\n`,
    );
    return exitCodes.ok;
  }
  terminal.out(planText(loaded.value, resolution, { terminal, price: choice.price }));
  terminal.out(poolsText(pools));
  if (changes !== undefined) terminal.out(`\n${changesText(changes, choice.against ?? '', terminal)}`);
  return exitCodes.ok;
}

/** Price a stage and in all, of GPU hours alone. */
function priceOf({ stages, totals }: Resolution, price: number | undefined): object {
  if (price === undefined) return {};
  const money = ({ low, high }: Range): Range => ({ low: (low / 3600) * price, high: (high / 3600) * price });
  const prices = stages.flatMap((stage) =>
    stage.state !== 'hit' && stage.cost?.device === 'gpu' ? [[stage.name, money(stage.cost.seconds)]] : [],
  );
  return {
    price: {
      perGpuHour: price,
      stages: Object.fromEntries(prices) as object,
      total: money(totals.gpuSeconds),
    },
  };
}

interface Comparing {
  choice: PlanChoice;
  plan: Plan;
  invocation: Invocation;
}

/** A spec that did not exist, or was wrong, at the revision is a mistake in the question. */
function changesAgainst(revision: string, { choice, plan, invocation }: Comparing): StageChange[] {
  const readSpec = gitSpecReader(revision, invocation.cwd);
  const older = loadPlan(choice.spec, { ...choice, readSpec }, invocation);
  if (older.ok) return comparePlans(older.value, plan, jsonDifference);
  const [first] = older.error;
  const more = older.error.length > 1 ? ` (and ${older.error.length - 1} more)` : '';
  throw new UsageError(
    `--against ${revision}: the spec was wrong then: ${first?.range.path ?? ''}:${first?.range.line ?? 0}: ${first?.message ?? ''}${more}`,
  );
}

function parseChoice(args: string[]): PlanChoice {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      profile: { type: 'string' },
      param: { type: 'string', multiple: true, default: [] },
      against: { type: 'string' },
      price: { type: 'string' },
    },
  });
  const [spec, ...more] = positionals;
  if (spec === undefined || more.length > 0) throw new UsageError('expected one spec file');
  return {
    spec,
    params: Object.fromEntries(values.param.map(parseParam)),
    ...(values.profile === undefined ? {} : { profile: values.profile }),
    ...(values.against === undefined ? {} : { against: values.against }),
    ...(values.price === undefined ? {} : { price: parsePrice(values.price) }),
  };
}
