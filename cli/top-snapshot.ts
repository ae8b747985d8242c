import type { Client } from '@temporalio/client';
import type { Plan } from '../compiler/plan.ts';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import type { Store } from '../store/store.ts';
import { runAttributes } from '../workers/search-attributes.ts';
import type { RunChanges, StageState } from '../workflows/index.ts';
import { countPollers } from './pool-queues.ts';
import { readStageProgress } from './progress.ts';
import { RecentRate } from './recent-rate.ts';
import { readStageNow, type StageNow } from './stage-now.ts';

/** One stage that is not over, as `top` shows it. */
export interface TopStage {
  run: string;
  stage: string;
  kind: string;
  pool: string;
  gpus: number;
  key: StageKey;
  /** `queued`: no worker of its pool has taken it. `between`: between two attempts. */
  state: 'running' | 'queued' | 'between' | 'paused' | 'approval';
  attempt: number | null;
  step: number | null;
  total: number | null;
  unit: string | null;
  /** Units a second. */
  rate: number | null;
  loss: number | null;
  secondsLeft: number | null;
  host: string | null;
  /** Since when it waits for its pool, or is worked on. */
  since: Date | null;
}

export interface TopRun {
  run: string;
  spec: string;
  state: string;
  stages: number;
  /** Of these stages. */
  ended: number;
}

export interface TopPool {
  pool: string;
  /** Worker processes that ask for its work now. */
  workers: number;
  running: number;
  queued: number;
  /** Of what is queued, the longest wait. */
  since: Date | null;
}

export interface TopSnapshot {
  at: Date;
  runs: TopRun[];
  stages: TopStage[];
  pools: TopPool[];
  /** Runs on this cluster that this store does not know. */
  elsewhere: number;
}

interface Sources {
  store: Store;
  /** Job folders of this host. */
  work: string;
  /** The task queue of a pool. */
  queueOf: (pool: string) => string;
}

/** Looks at everything that is at work, again and again: rates are measured from look to look. */
export class TopWatch {
  readonly #sources: Sources;
  readonly #plans = new Map<string, Plan>();
  readonly #rates = new Map<StageKey, RecentRate>();

  constructor(sources: Sources) {
    this.#sources = sources;
  }

  async look(client: Client): Promise<TopSnapshot> {
    const at = new Date();
    const snapshot: TopSnapshot = { at, runs: [], stages: [], pools: [], elsewhere: 0 };
    const seen = new Map<StageKey, Promise<StageNow | undefined>>();
    for await (const info of client.workflow.list({
      query: "WorkflowType = 'runPipeline' AND ExecutionStatus = 'Running'",
    })) {
      const run = info.workflowId.slice('run-'.length);
      const plan = await this.#plan(run);
      if (plan === undefined) {
        snapshot.elsewhere++;
        continue;
      }
      const changes = await client.workflow
        .getHandle(info.workflowId)
        .query<RunChanges, [number]>('changes', 0)
        .catch(() => undefined);
      const states = new Map(changes?.stages);
      snapshot.runs.push({
        run,
        spec: plan.spec.name,
        state: info.typedSearchAttributes.get(runAttributes.state) ?? 'running',
        stages: plan.stages.length,
        ended: [...states.values()].filter((state) => !isOpen(state)).length,
      });
      const open = plan.stages.filter(({ name }) => isOpen(states.get(name)));
      snapshot.stages.push(
        ...(await Promise.all(open.map((stage) => this.#stage({ run, stage, states, client, seen })))).flat(),
      );
    }
    snapshot.pools = await this.#pools(client, snapshot.stages);
    return snapshot;
  }

  async #plan(run: string): Promise<Plan | undefined> {
    const known = this.#plans.get(run);
    if (known !== undefined) return known;
    const text = await this.#sources.store.documents.read(`runs/${run}/plan`);
    if (text === undefined) return undefined;
    const plan = JSON.parse(text) as Plan;
    this.#plans.set(run, plan);
    return plan;
  }

  /** None: it has ended since. A stage that several runs share is asked about once. */
  async #stage({ run, stage, states, client, seen }: OpenStage): Promise<TopStage[]> {
    const state = states.get(stage.name);
    if (!isOpen(state)) return [];
    const { key } = state;
    if (key === undefined) return [];
    const line = { ...unknown, run, stage: stage.name, kind: stage.kind, pool: stage.pool, key };
    const gpus = stage.resources.gpus;
    if (state.kind !== 'running') return [{ ...line, gpus, state: state.kind }];
    const asked = seen.get(key) ?? readStageNow(client, { key, pool: stage.pool }).catch(() => undefined);
    seen.set(key, asked);
    const now = await asked;
    return now === undefined ? [] : [{ ...line, gpus, ...this.#now(key, now) }];
  }

  #now(key: StageKey, now: StageNow): Partial<TopStage> & Pick<TopStage, 'state'> {
    if (now.kind === 'queued') return { state: 'queued', since: now.wait.since };
    if (now.kind === 'between') return { state: 'between' };
    const told = readStageProgress(this.#sources.work, hexOf(key));
    // A job of another host is known by what its supervisor tells Temporal.
    const progress = told === undefined || told.attempt < (now.progress?.attempt ?? 0) ? now.progress : told;
    const at = { state: 'running', host: now.host, since: now.since } as const;
    if (progress === undefined) return at;
    const { attempt, step, total, unit, loss } = progress;
    if (total === 0) return { ...at, attempt };
    const rate = progress.rate ?? this.#rate(key).see(step, Date.now());
    const secondsLeft = rate === null || rate === 0 ? null : (total - step) / rate;
    return { ...at, attempt, step, total, unit, rate, loss, secondsLeft };
  }

  /** Of the pools that stages ask for now; a stage that several runs share counts once. */
  async #pools(client: Client, stages: readonly TopStage[]): Promise<TopPool[]> {
    const once = [...new Map(stages.map((stage) => [stage.key, stage])).values()];
    const names = [...new Set(once.map(({ pool }) => pool))].sort();
    return await Promise.all(
      names.map(async (pool) => {
        const workers = await countPollers(client, this.#sources.queueOf(pool)).catch(() => 0);
        return { pool, workers, ...countPool(once.filter((stage) => stage.pool === pool)) };
      }),
    );
  }

  #rate(key: StageKey): RecentRate {
    const rate = this.#rates.get(key) ?? new RecentRate();
    this.#rates.set(key, rate);
    return rate;
  }
}

interface OpenStage {
  run: string;
  stage: Plan['stages'][number];
  states: ReadonlyMap<string, StageState>;
  client: Client;
  seen: Map<StageKey, Promise<StageNow | undefined>>;
}

const unknown = {
  attempt: null,
  step: null,
  total: null,
  unit: null,
  rate: null,
  loss: null,
  secondsLeft: null,
  host: null,
  since: null,
};

type Open = Extract<StageState, { kind: 'running' | 'paused' | 'approval' }>;

function isOpen(state: StageState | undefined): state is Open {
  return state !== undefined && ['running', 'paused', 'approval'].includes(state.kind);
}

function countPool(stages: readonly TopStage[]): Pick<TopPool, 'running' | 'queued' | 'since'> {
  const queued = stages.filter(({ state }) => state === 'queued');
  const waits = queued.flatMap(({ since }) => (since === null ? [] : [since.getTime()]));
  return {
    running: stages.filter(({ state }) => state === 'running').length,
    queued: queued.length,
    since: waits.length === 0 ? null : new Date(Math.min(...waits)),
  };
}
