import {
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { Act, Graph, News, RunControl, RunRequest } from '../activities/run-request.ts';
import type { StageOutcome, StageRequest, StageState } from '../activities/stage-request.ts';
import { Schedule } from './graph.ts';
import { RunBudget } from './run-budget.ts';
import { ControlState } from './run-control.ts';
import type { RunState, StateAttribute } from './run-state.ts';

type BindStages = Pick<Activities, 'bindStages'>['bindStages'];

const { noteAct, tellStage, measureSpent } = proxyLocalActivities<Activities>({ startToCloseTimeout: '1m' });

/** Trying to reach people ends some day, and is nobody's failure. */
const { notify } = proxyLocalActivities<Activities>({
  startToCloseTimeout: '2m',
  retry: { maximumAttempts: 3 },
});

const tellAgainMs = 1000;

/** Stages that one activity waits for. */
interface Wait {
  scope: CancellationScope;
  names: ReadonlySet<string>;
}

export interface PipelineOptions {
  log: (name: string, state: StageState) => void;
  /** False in runs that began before people could speak to them: they go on as they began. */
  isSpokenTo: boolean;
  /** False in runs that began when a stage behind a hit was bound a second time. */
  bindsOnce: boolean;
  state: StateAttribute;
}

/** The stages of one run between being ready and having ended, and what people say about them. */
export class PipelineRun {
  readonly schedule: Schedule;
  readonly #request: RunRequest;
  readonly #log: (name: string, state: StageState) => void;
  readonly #awaitStages: Activities['awaitStages'];
  readonly #leaveStages: Activities['leaveStages'];
  readonly #control: ControlState;
  readonly #budget: RunBudget;
  readonly #isSpokenTo: boolean;
  readonly #bindsOnce: boolean;
  readonly #state: StateAttribute;
  /** Ready to be waited for, and waited for by no activity now. */
  readonly #started: StageRequest[] = [];
  /** Bound, and not started. */
  readonly #bound: StageRequest[] = [];
  /** All that were ever bound: binding goes on behind hits, so a stage may be bound before it is ready here. */
  readonly #bindings = new Set<string>();
  /** Started, and not ended. */
  readonly #atWork = new Map<string, StageRequest>();
  readonly #waits = new Set<Wait>();
  /** To be left, and how they end by that. */
  readonly #leaving = new Map<string, StageOutcome>();
  readonly #asked = new Set<string>();
  /** Made by this run before its history was cut: a hit now, and none of an earlier run. */
  readonly #ran: ReadonlyMap<string, number>;
  /** All that this run has waited for: its budget counts them. */
  readonly #paidFor = new Map<string, { key: StageRequest['key']; gpus: number }>();
  /** What each stage was told last: words must not overtake each other. */
  readonly #words = new Map<string, Promise<void>>();
  readonly #scope = new CancellationScope();
  #activities = 0;
  /** Counts up whenever there may be something to do. */
  #version = 0;

  constructor(request: RunRequest, graph: Graph, { log, isSpokenTo, bindsOnce, state }: PipelineOptions) {
    this.schedule = new Schedule(graph);
    this.#request = request;
    this.#log = log;
    this.#isSpokenTo = isSpokenTo;
    this.#bindsOnce = bindsOnce;
    this.#state = state;
    this.#control = new ControlState(request.control);
    this.#ran = new Map(request.ran);
    this.#budget = new RunBudget(request, {
      gpusAtWork: () => [...this.#atWork.values()].reduce((sum, { resources }) => sum + resources.gpus, 0),
      measure: () => this.#measure(),
      tell: (message) => {
        this.#tellPeople({ kind: 'budget', message });
      },
      stop: (message) => {
        this.#stopAll({ code: 'BUDGET_SPENT', message: `the run has used ${message}` });
      },
    });
    for (const [name, outcome] of request.ended ?? []) this.#end(name, outcome, { isNews: false });
    const waiting = {
      taskQueue: request.queues.waiters,
      startToCloseTimeout: '365d',
      heartbeatTimeout: request.heartbeatSeconds * 1000,
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
      retry: { maximumInterval: '10s' },
    } as const;
    this.#awaitStages = proxyActivities<Activities>(waiting).awaitStages;
    this.#leaveStages = proxyActivities<Activities>(waiting).leaveStages;
  }

  /** The history is long: the rest is left to a continuation, which waits for what is at work now. */
  get isDraining(): boolean {
    return workflowInfo().continueAsNewSuggested;
  }

  /** Until nothing is at work and nothing can start, or the history is long. */
  async follow(bindStages: BindStages): Promise<void> {
    const budget = this.#scope.run(() => this.#budget.watch()).catch(ignoreCancellation);
    try {
      await this.#scope.run(() => this.#followAll(bindStages));
    } finally {
      this.#scope.cancel();
      await budget;
    }
  }

  /** What a person says: true once it holds and is written down, false when it changes nothing. */
  async obey(act: Act): Promise<boolean> {
    if (!this.#control.hear(act)) return false;
    const key = act.stage === undefined ? undefined : this.#keyOf(act.stage);
    if (!this.#apply(act)) return false;
    this.#version++;
    const noted = { request: this.#request, act, ...(key === undefined ? {} : { key }) };
    this.#activities++;
    try {
      await CancellationScope.nonCancellable(() => noteAct(noted));
    } finally {
      this.#activities--;
    }
    return true;
  }

  /** One of the run's stages is near its own budget. */
  hearBudget(key: string, message: string): void {
    const stage = [...this.#atWork.values()].find((request) => request.key === key);
    if (stage !== undefined) this.#tellPeople({ kind: 'budget', stage: stage.stage, message });
  }

  async settle(): Promise<void> {
    await condition(() => this.#activities === 0);
  }

  /** For a continuation. */
  async control(): Promise<RunControl> {
    const gpuHours = this.#request.budget === undefined ? 0 : await this.#measure();
    return { ...this.#control.toJson(), gpuHours, isBudgetTold: this.#budget.isTold };
  }

  async #followAll(bindStages: BindStages): Promise<void> {
    for (;;) {
      const ready = this.schedule.takeReady().filter((name) => !this.#bindsOnce || !this.#bindings.has(name));
      if (ready.length > 0) {
        await this.#bind(ready, bindStages);
        continue;
      }
      this.#startSome();
      const isOver = this.#atWork.size === 0 && (this.#bound.length === 0 || this.isDraining);
      if (isOver) return;
      if (this.isDraining && this.#isSpokenTo) {
        await this.#stopWaiting();
        return;
      }
      this.#state.tell(this.#stateNow());
      const seen = this.#version;
      await condition(() => this.#version > seen);
    }
  }

  #stateNow(): RunState {
    if (this.#control.isAllPaused) return 'paused';
    const asks = this.#bound.some(({ stage }) => this.#asked.has(stage) && !this.#control.isApproved(stage));
    return asks ? 'approval' : 'running';
  }

  async #bind(ready: string[], bindStages: BindStages): Promise<void> {
    const known = this.schedule.inputsOf(ready);
    const bound = await bindStages({ request: this.#request, ready, known });
    for (const { name, key, outputs } of bound.hits) {
      const attempts = this.#ran.get(name);
      this.#end(
        name,
        attempts === undefined ? { kind: 'cached', key, outputs } : { kind: 'ran', key, outputs, attempts },
      );
    }
    for (const { name, outcome } of bound.failed) this.#end(name, outcome);
    for (const { stage } of bound.requests) this.#bindings.add(stage);
    this.#bound.push(...bound.requests.filter(({ stage }) => !this.schedule.outcomes.has(stage)));
  }

  #startSome(): void {
    const batch = this.#started.splice(0);
    const fresh = this.#takeBound(this.isDraining ? 0 : this.#request.maxInFlight - this.#atWork.size);
    for (const request of fresh) {
      const { stage, key, resources } = request;
      this.#atWork.set(stage, request);
      this.#paidFor.set(stage, { key, gpus: resources.gpus });
      this.#log(stage, { kind: 'running', key });
    }
    batch.push(...fresh);
    if (batch.length > 0) void this.#waitFor(batch);
  }

  /** Stages that may start now; those that need a person's word are asked for, once each. */
  #takeBound(room: number): StageRequest[] {
    const taken: StageRequest[] = [];
    const kept: StageRequest[] = [];
    for (const request of this.#bound) {
      const mayStart = !this.#control.isPaused(request.stage) && this.#isApproved(request);
      if (mayStart && taken.length < room) taken.push(request);
      else kept.push(request);
    }
    this.#bound.splice(0, this.#bound.length, ...kept);
    return taken;
  }

  #isApproved({ stage, key, approve }: StageRequest): boolean {
    if (approve === undefined || this.#control.isApproved(stage)) return true;
    if (!this.#asked.has(stage)) {
      this.#asked.add(stage);
      this.#log(stage, { kind: 'approval', key, question: approve });
      this.#tellPeople({ kind: 'approval', stage, question: approve });
    }
    return false;
  }

  async #waitFor(stages: StageRequest[]): Promise<void> {
    this.#activities++;
    const wait: Wait = { scope: new CancellationScope(), names: new Set(stages.map(({ stage }) => stage)) };
    this.#waits.add(wait);
    if (stages.some(({ stage }) => this.#leaving.has(stage))) wait.scope.cancel();
    try {
      const { ended } = await wait.scope.run(() =>
        this.#isSpokenTo ? this.#awaitStages(stages, { leaves: false }) : this.#awaitStages(stages),
      );
      for (const [name, outcome] of ended) this.#end(name, outcome);
      await this.#sortLeft(stages);
    } catch (error) {
      if (isCancellation(error) && this.#isSpokenTo) await this.#sortLeft(stages);
      else for (const stage of stages) this.#end(stage.stage, endOfWaiting(error, stage));
    } finally {
      this.#waits.delete(wait);
      this.#activities--;
      this.#version++;
    }
  }

  /** Of the stages that were waited for: who is to be left is left, for the others it is waited again. */
  async #sortLeft(stages: readonly StageRequest[]): Promise<void> {
    const open = stages.filter(({ stage }) => !this.schedule.outcomes.has(stage));
    const isOver = this.#scope.consideredCancelled;
    const gone = isOver ? open : open.filter(({ stage }) => this.#leaving.has(stage));
    if (!isOver) this.#started.push(...open.filter((request) => !gone.includes(request)));
    if (gone.length === 0) return;
    await CancellationScope.nonCancellable(() => this.#leaveStages(gone));
    for (const { stage, key } of gone)
      this.#end(stage, this.#leaving.get(stage) ?? { kind: 'cancelled', key });
  }

  async #stopWaiting(): Promise<void> {
    for (const { scope } of this.#waits) scope.cancel();
    await this.settle();
  }

  #apply({ act, stage }: Act): boolean {
    if (stage !== undefined && !this.#canChange(stage)) return false;
    switch (act) {
      case 'pause':
        return this.#pause(stage);
      case 'resume':
        return this.#resume(stage);
      case 'approve':
        return stage !== undefined && this.#asked.has(stage) && this.#control.approve(stage);
      case 'cancel':
        if (stage === undefined) this.#scope.cancel();
        else this.#drop(stage, { kind: 'cancelled' });
        return true;
    }
  }

  #canChange(stage: string): boolean {
    return this.schedule.has(stage) && !this.schedule.outcomes.has(stage);
  }

  #pause(stage: string | undefined): boolean {
    const before = this.#wantedNow();
    const isNew = this.#control.pause(stage);
    for (const request of before) if (this.#control.isPaused(request.stage)) this.#tell(request, 'pause');
    return isNew;
  }

  #resume(stage: string | undefined): boolean {
    const before = new Set(this.#wantedNow());
    const isNew = this.#control.resume(stage);
    for (const request of this.#wantedNow()) if (!before.has(request)) this.#tell(request, 'resume');
    return isNew;
  }

  #wantedNow(): StageRequest[] {
    return [...this.#atWork.values()].filter(({ stage }) => !this.#control.isPaused(stage));
  }

  /** A stage may be a moment from being started: it is told until it hears, ends, or the word changes. */
  #tell(request: StageRequest, word: 'pause' | 'resume'): void {
    const { stage, key } = request;
    this.#log(stage, word === 'pause' ? { kind: 'paused', key } : { kind: 'running', key });
    const isDue = (): boolean =>
      this.#atWork.has(stage) && this.#control.isPaused(stage) === (word === 'pause');
    const before = this.#words.get(stage);
    const told = (async () => {
      await before;
      while (isDue() && !(await tellStage({ request, word }))) await sleep(tellAgainMs);
    })().catch(ignoreCancellation);
    this.#words.set(stage, told);
    this.#inBackground(() => told);
  }

  #drop(stage: string, outcome: StageOutcome): void {
    const request = this.#atWork.get(stage);
    if (request === undefined) {
      this.#end(stage, outcome);
      const at = this.#bound.findIndex((bound) => bound.stage === stage);
      if (at >= 0) this.#bound.splice(at, 1);
      return;
    }
    this.#leaving.set(stage, { ...outcome, key: request.key } as StageOutcome);
    for (const { names, scope } of this.#waits) if (names.has(stage)) scope.cancel();
  }

  #stopAll({ code, message }: { code: 'BUDGET_SPENT'; message: string }): void {
    this.#tellPeople({ kind: 'budget', message });
    const failed: StageOutcome = { kind: 'failed', code, message, attempts: 0 };
    for (const { stage } of [...this.#bound, ...this.#atWork.values()]) this.#drop(stage, failed);
  }

  async #measure(): Promise<number> {
    const spent = await measureSpent({ run: this.#request.run, stages: [...this.#paidFor.values()] });
    return spent + (this.#request.control?.gpuHours ?? 0);
  }

  #tellPeople(news: News): void {
    if (!this.#isSpokenTo) return;
    const { run, spec } = this.#request;
    const at = new Date().toISOString();
    this.#inBackground(() => notify({ request: { run, spec }, news, at }));
  }

  /** Waited for by `settle`; its failures are nobody's. */
  #inBackground(work: () => Promise<void>): void {
    this.#activities++;
    void CancellationScope.nonCancellable(work)
      .catch(() => undefined)
      .finally(() => {
        this.#activities--;
        this.#version++;
      });
  }

  #keyOf(stage: string): StageRequest['key'] | undefined {
    return (this.#atWork.get(stage) ?? this.#bound.find((bound) => bound.stage === stage))?.key;
  }

  #end(name: string, outcome: StageOutcome, { isNews = true } = {}): void {
    this.#atWork.delete(name);
    for (const [ended, how] of this.schedule.end(name, outcome)) {
      this.#log(ended, how);
      if (isNews && how.kind === 'failed')
        this.#tellPeople({ kind: 'failed', stage: ended, code: how.code, message: how.message });
    }
    this.#version++;
  }
}

function endOfWaiting(error: unknown, { key }: StageRequest): StageOutcome {
  if (isCancellation(error)) return { kind: 'cancelled', key };
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const message = cause instanceof Error ? cause.message : String(cause);
  return { kind: 'failed', key, code: 'ENGINE_BUG', message, attempts: 0 };
}

function ignoreCancellation(error: unknown): void {
  if (!isCancellation(error)) throw error;
}
