import { parseArgs } from 'node:util';
import type { Plan, PlannedStage } from '../compiler/plan.ts';
import { resolve as resolveStages, type ResolvedStage } from '../compiler/resolve.ts';
import { nearest as nearestName } from '../compiler/suggest.ts';
import { isDigest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { diffArtifacts, type LineageDifference } from '../lineage/diff.ts';
import { readGraph, type LineageGraph } from '../lineage/graph.ts';
import { jsonDifference } from '../lineage/json-difference.ts';
import { sha256Text } from '../store/sha256.ts';
import type { Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { kindVersions } from '../workers/kind-versions.ts';
import { bulkStore } from './bulk-store.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { printDiagnostics } from './diagnostics.ts';
import { explanationJson, explanationText } from './explain-text.ts';
import { findRun } from './find-run.ts';
import { loadPlan, parseParam, type SpecChoice } from './load-plan.ts';
import { planSizes } from './plan-sizes.ts';
import { storeLookups } from './store-lookups.ts';

export interface ExplainChoice extends SpecChoice {
  /** Without one, the plan of the newest run is asked. */
  spec?: string;
  stage: string;
}

/** Why one stage is there or would run: all that differs, and for inputs what made them differ. */
export interface Explanation {
  planned: PlannedStage;
  resolved: ResolvedStage;
  /** By field, for inputs whose artifact is another than the nearest record's. */
  inputs: ReadonlyMap<string, LineageDifference>;
}

/** `fretsaw explain [<spec>] <stage>`. Nothing is started, nothing is written. */
export const command: Command = {
  run: (invocation) => explain(parseChoice(invocation.args), invocation),
};

export async function explain(choice: ExplainChoice, invocation: Invocation): Promise<number> {
  const home = homePaths(invocation.env, invocation.cwd);
  const store = openHomeStore(home);
  const plan = await planOf(choice, store, invocation);
  if (plan === undefined) return exitCodes.usage;
  const names = stagesNamed(plan, choice.stage);
  const { versions } = kindVersions(
    invocation.installation.root,
    new Set(plan.stages.map(({ kind }) => kind)),
  );
  const answering = await bulkStore(store, plan, versions);
  const resolution = await resolveStages(plan, {
    lookups: storeLookups(answering, home.root),
    versions,
    sha256: sha256Text,
    compare: jsonDifference,
    sizes: planSizes(plan.stages),
  });
  const graph = await readGraph(answering);
  const explanations: Explanation[] = [];
  for (const resolved of resolution.stages) {
    const planned = plan.stages.find(({ name }) => name === resolved.name);
    if (planned === undefined || !names.has(planned.name)) continue;
    explanations.push({ planned, resolved, inputs: await whyInputsDiffer(graph, resolved) });
  }
  const { terminal, json } = invocation;
  terminal.out(
    json
      ? `${JSON.stringify({ spec: plan.spec, stages: explanations.map(explanationJson) })}\n`
      : explanations.map((one) => explanationText(one, terminal)).join('\n'),
  );
  return exitCodes.ok;
}

/** Undefined when the spec is wrong, which has then been said. */
async function planOf(
  choice: ExplainChoice,
  store: Store,
  invocation: Invocation,
): Promise<Plan | undefined> {
  if (choice.spec === undefined) return (await findRun(store, 'last')).plan;
  const loaded = loadPlan(choice.spec, choice, invocation);
  if (loaded.ok) return loaded.value;
  printDiagnostics(loaded.error, invocation);
  return undefined;
}

/** The stage, or all legs of a stage with a matrix. */
function stagesNamed(plan: Plan, stage: string): ReadonlySet<string> {
  const names = plan.stages.map(({ name }) => name);
  const found = names.filter((name) => name === stage || name.startsWith(`${stage}[`));
  if (found.length > 0) return new Set(found);
  const near = nearestName(stage, names);
  const hint = near === undefined ? `it has ${names.join(', ')}` : `did you mean ${near}?`;
  throw new Failure('NOT_FOUND', `${plan.spec.name} has no stage ${stage}; ${hint}`, { retryable: false });
}

async function whyInputsDiffer(
  graph: LineageGraph,
  resolved: ResolvedStage,
): Promise<ReadonlyMap<string, LineageDifference>> {
  const inputs = new Map<string, LineageDifference>();
  if (resolved.state === 'hit' || resolved.why.kind !== 'changed') return inputs;
  for (const { field, a, b } of resolved.why.nearest.differences) {
    const isInput = field.startsWith('inputs.') && typeof a === 'string' && typeof b === 'string';
    if (isInput && isDigest(a) && isDigest(b)) inputs.set(field, await diffArtifacts(graph, a, b));
  }
  return inputs;
}

function parseChoice(args: string[]): ExplainChoice {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { profile: { type: 'string' }, param: { type: 'string', multiple: true, default: [] } },
  });
  const [first, second, ...more] = positionals;
  if (first === undefined || more.length > 0) throw new UsageError('expected [<spec>] <stage>');
  if (second === undefined) {
    if (values.profile !== undefined || values.param.length > 0) {
      throw new UsageError('--profile and --param belong to a spec: fretsaw explain <spec> <stage>');
    }
    return { stage: first };
  }
  return {
    spec: first,
    stage: second,
    params: Object.fromEntries(values.param.map(parseParam)),
    ...(values.profile === undefined ? {} : { profile: values.profile }),
  };
}
