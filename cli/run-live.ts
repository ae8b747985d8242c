import type { Client, WorkflowHandle } from '@temporalio/client';
import { createHash, randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { isUnpinned } from '../compiler/bind.ts';
import type { Plan } from '../compiler/plan.ts';
import { digestFromHex, type Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { listFinished, writeRunStarted } from '../lineage/run.ts';
import { homePaths } from '../workers/home.ts';
import { identify } from '../workers/process-identity.ts';
import { attributesOf, knowsNoAttributes } from '../workers/search-attributes.ts';
import { Session } from '../workers/session.ts';
import { ownPoolsOf, taskQueuesOf, type WorkerSettings } from '../workers/worker-settings.ts';
import type { RunRequest, RunSummary, StageOutcome } from '../workflows/index.ts';
import { exitCodes, UsageError } from './command.ts';
import { approvePlan } from './approve-plan.ts';
import { findOpenRun, type RunMemo } from './open-runs.ts';
import { checkedOut } from './git-commit.ts';
import { followRun, type FollowedRun } from './follow-run.ts';
import { LiveView } from './live-view.ts';
import { countPollers, foreignPools } from './pool-queues.ts';
import { renderEnd } from './run-table.ts';
import type { LiveRun } from './run.ts';
import { connectClient, workerSettings } from './temporal-client.ts';
import { version } from './version.ts';

/** Runs what is missing on the cluster that the environment names, or on this home's own server. */
export async function runLive(live: LiveRun): Promise<number> {
  const { invocation, plan } = live;
  const paths = homePaths(invocation.env, invocation.cwd);
  const settings = workerSettings(invocation, paths);
  checkPinned(plan);
  const startedAt = Date.now();
  const view = new LiveView(plan, invocation.terminal, paths.work);
  const session = await Session.open(paths, settings, (what) => {
    view.note(`${what} had ended and was started again`);
  });
  const connect = (): Promise<Client> => connectClient(invocation.env, session.port);
  try {
    if (!live.choice.waitForPools) await checkPools(live, await connect(), ownPoolsOf(settings));
    const run = await startRun(live, { settings, connect });
    const summary = await followRun(run, view);
    view.clear();
    const end = summary.state;
    const outcomes = await outcomesOf(live.store, summary);
    await renderEnd(
      plan,
      { run: run.id, state: end, outcomes, seconds: (Date.now() - startedAt) / 1000 },
      live,
    );
    if (end === 'cancelled') invocation.terminal.err('stopped; the same command goes on from here\n');
    return end === 'done' ? exitCodes.ok : end === 'cancelled' ? exitCodes.interrupted : exitCodes.failed;
  } finally {
    await session.close();
  }
}

/** What ended well is in the store; what did not comes with the summary, and says why. */
async function outcomesOf(store: LiveRun['store'], summary: RunSummary): Promise<Map<string, StageOutcome>> {
  const finished = (await listFinished(store.documents, summary.run)).at(-1);
  const outcomes = new Map<string, StageOutcome>();
  for (const { stage, outcome, key, outputs } of finished?.stages ?? []) {
    if (key === undefined || outputs === undefined) continue;
    if (outcome === 'cached') outcomes.set(stage, { kind: 'cached', key, outputs });
    if (outcome === 'ran') outcomes.set(stage, { kind: 'ran', key, outputs, attempts: 1 });
  }
  for (const [stage, outcome] of summary.problems) outcomes.set(stage, outcome);
  return outcomes;
}

/** What is somewhere else has a key only once its bytes are known, and they are known by `pin`. */
function checkPinned(plan: Plan): void {
  const open = plan.stages.filter(isUnpinned).map(({ name }) => name);
  if (open.length === 0) return;
  throw new UsageError(
    `${open.join(', ')}: no digest for what is not on this host; fretsaw pin ${plan.spec.path} writes it into the spec`,
  );
}

/** A stage whose pool nobody serves would wait; that is said before anything is started. */
async function checkPools(
  { plan, resolved }: LiveRun,
  client: Client,
  own: ReadonlySet<string>,
): Promise<void> {
  const missing = new Set(resolved.misses);
  const stages = plan.stages.filter(({ name }) => missing.has(name));
  for (const pool of foreignPools(stages, own)) {
    if ((await countPollers(client, pool)) > 0) continue;
    const names = stages.filter((stage) => stage.pool === pool).map(({ name }) => name);
    throw new Failure(
      'NO_POOL',
      `nobody serves pool ${pool}, which ${names.join(', ')} ${names.length === 1 ? 'asks' : 'ask'} for: start fretsaw worker --pool ${pool}, choose another profile, or wait with --wait-for-pools`,
    );
  }
}

interface Starting {
  settings: WorkerSettings;
  connect: () => Promise<Client>;
}

async function startRun(live: LiveRun, { settings, connect: newClient }: Starting): Promise<FollowedRun> {
  const { plan, choice, invocation, store } = live;
  const id = newRunId();
  const text = `${JSON.stringify(plan)}\n`;
  const planDigest = digestFromHex(createHash('sha256').update(text).digest('hex'));
  const client = await newClient();
  const open = await findOpenRun(client, { planDigest, recompute: choice.recompute }, (text) => {
    invocation.terminal.err(`${text}\n`);
  });
  const known = { client, newClient, ownPools: ownPoolsOf(settings) };
  if (open !== undefined) return followed(open, known);
  await store.documents.create(`runs/${id}/plan`, text);
  await approvePlan(store, { run: id, plan: planDigest }, invocation);
  const origin = originOf(invocation);
  await writeStart(live, { id, planDigest, origin });
  const request: RunRequest = {
    run: id,
    spec: plan.spec.name,
    planDigest,
    queues: taskQueuesOf(settings),
    maxInFlight: choice.maxInFlight,
    ...patience(invocation.env),
    ...(plan.budget === undefined ? {} : { budget: plan.budget }),
    ...(choice.recompute === undefined ? {} : { recompute: choice.recompute }),
  };
  const handle = await startWorkflow(client, { request, live, origin });
  return { ...followed(id, known), handle };
}

interface Origin {
  owner: string;
  commit?: string;
}

function originOf({ env, cwd }: LiveRun['invocation']): Origin {
  const { commit } = checkedOut(cwd);
  return {
    owner: env['FRETSAW_OWNER'] || userInfo().username,
    ...(commit === '' ? {} : { commit }),
  };
}

interface Start {
  request: RunRequest;
  live: LiveRun;
  origin: Origin;
}

type RunPipeline = (request: RunRequest) => Promise<RunSummary>;

/** With the attributes that runs are searched by, where the cluster knows them. */
async function startWorkflow(
  client: Client,
  { request, live, origin }: Start,
): Promise<WorkflowHandle<RunPipeline>> {
  const { plan, choice, invocation } = live;
  const { name, profile } = plan.spec;
  const options = {
    workflowId: `run-${request.run}`,
    taskQueue: request.queues.control,
    args: [request] as [RunRequest],
    memo: {
      spec: name,
      plan: request.planDigest,
      owner: identify(process.pid),
      recompute: choice.recompute ?? null,
    } satisfies RunMemo,
    staticSummary: `${name}${profile === null ? '' : ` (${profile})`}`,
  };
  const kinds = [...new Set(plan.stages.map(({ kind }) => kind))].sort();
  const pools = [...new Set(plan.stages.map(({ pool }) => pool))].sort();
  const typedSearchAttributes = attributesOf({ spec: name, ...origin, kinds, pools });
  try {
    return await client.workflow.start<RunPipeline>('runPipeline', { ...options, typedSearchAttributes });
  } catch (error) {
    if (!knowsNoAttributes(error)) throw error;
    const { namespace } = client.options;
    invocation.terminal.err(
      `namespace ${namespace} has no search attributes of runs: status reads the store instead (infra/temporal/namespace.sh ${namespace} adds them)\n`,
    );
    return await client.workflow.start<RunPipeline>('runPipeline', options);
  }
}

interface Known {
  client: Client;
  newClient: () => Promise<Client>;
  ownPools: ReadonlySet<string>;
}

function followed(id: string, { client, newClient, ownPools }: Known): FollowedRun {
  const run: FollowedRun = {
    id,
    client,
    ownPools,
    handle: client.workflow.getHandle(`run-${id}`),
    reconnect: async () => {
      run.client = await newClient();
      run.handle = run.client.workflow.getHandle(`run-${id}`);
    },
  };
  return run;
}

interface Started {
  id: string;
  planDigest: Digest;
  origin: Origin;
}

async function writeStart(
  { plan, choice, store }: LiveRun,
  { id, planDigest, origin }: Started,
): Promise<void> {
  await writeRunStarted(store.documents, {
    schema: 'fretsaw/run-started/v1',
    run: id,
    spec: plan.spec,
    plan: planDigest,
    startedAt: new Date().toISOString(),
    host: hostname(),
    ...origin,
    fretsaw: version,
    ...(choice.recompute === undefined ? {} : { recompute: choice.recompute }),
    ...(choice.retry === undefined ? {} : { retry: choice.retry }),
  });
}

/** For tests of lost workers; nobody else has a reason to change these. */
function patience(env: NodeJS.ProcessEnv): { heartbeatSeconds: number; leaseSeconds: number } {
  return {
    heartbeatSeconds: Number(env['FRETSAW_HEARTBEAT_SECONDS'] || 15),
    leaseSeconds: Number(env['FRETSAW_LEASE_SECONDS'] || 60),
  };
}

function newRunId(): string {
  const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
  return `${time}-${randomBytes(2).toString('hex')}`;
}
