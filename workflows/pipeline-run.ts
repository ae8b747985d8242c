import { condition, isCancellation, proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { Graph, RunRequest } from '../activities/run-request.ts';
import type { StageOutcome, StageRequest, StageState } from '../activities/stage-request.ts';
import { Schedule } from './graph.ts';

type BindStages = Pick<Activities, 'bindStages'>['bindStages'];

/** The stages of one run between being ready and having ended. */
export class PipelineRun {
  readonly schedule: Schedule;
  readonly #request: RunRequest;
  readonly #log: (name: string, state: StageState) => void;
  readonly #awaitStages: Activities['awaitStages'];
  /** Started, and not waited for by any activity now. */
  readonly #started: StageRequest[] = [];
  /** Bound, and not started. */
  readonly #bound: StageRequest[] = [];
  #inFlight = 0;
  #activities = 0;

  constructor(request: RunRequest, graph: Graph, log: (name: string, state: StageState) => void) {
    this.schedule = new Schedule(graph);
    this.#request = request;
    this.#log = log;
    for (const [name, outcome] of request.ended ?? []) this.#end(name, outcome);
    const { awaitStages } = proxyActivities<Activities>({
      taskQueue: request.queues.waiters,
      startToCloseTimeout: '365d',
      heartbeatTimeout: request.heartbeatSeconds * 1000,
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
      retry: { maximumInterval: '10s' },
    });
    this.#awaitStages = awaitStages;
  }

  /** The history is long: nothing new is started, and the rest is left to a continuation. */
  get isDraining(): boolean {
    return workflowInfo().continueAsNewSuggested;
  }

  /** Until nothing is in flight and nothing can start. */
  async follow(bindStages: BindStages): Promise<void> {
    for (;;) {
      const ready = this.schedule.takeReady();
      if (ready.length > 0) {
        await this.#bind(ready, bindStages);
        continue;
      }
      this.#startSome();
      if (this.#inFlight === 0) return;
      const before = this.schedule.outcomes.size;
      await condition(
        () => this.schedule.outcomes.size > before || this.#started.length > 0 || this.#activities === 0,
      );
    }
  }

  async settle(): Promise<void> {
    await condition(() => this.#activities === 0);
  }

  async #bind(ready: string[], bindStages: BindStages): Promise<void> {
    const known = this.schedule.inputsOf(ready);
    const bound = await bindStages({ request: this.#request, ready, known });
    for (const { name, key, outputs } of bound.hits) this.#end(name, { kind: 'cached', key, outputs });
    for (const { name, outcome } of bound.failed) this.#end(name, outcome);
    this.#bound.push(...bound.requests);
  }

  #startSome(): void {
    const batch = this.#started.splice(0);
    const room = this.isDraining ? 0 : this.#request.maxInFlight - this.#inFlight;
    const fresh = this.#bound.splice(0, room);
    for (const { stage, key } of fresh) this.#log(stage, { kind: 'running', key });
    this.#inFlight += fresh.length;
    batch.push(...fresh);
    if (batch.length > 0) void this.#waitFor(batch);
  }

  async #waitFor(stages: StageRequest[]): Promise<void> {
    this.#activities++;
    let left = stages;
    try {
      const { ended } = await this.#awaitStages(stages);
      const names = new Set(ended.map(([name]) => name));
      left = stages.filter(({ stage }) => !names.has(stage));
      for (const [name, outcome] of ended) this.#end(name, outcome);
      this.#started.push(...left);
    } catch (error) {
      for (const stage of stages) this.#end(stage.stage, endOfWaiting(error, stage));
      left = [];
    } finally {
      this.#inFlight -= stages.length - left.length;
      this.#activities--;
    }
  }

  #end(name: string, outcome: StageOutcome): void {
    for (const [ended, how] of this.schedule.end(name, outcome)) this.#log(ended, how);
  }
}

function endOfWaiting(error: unknown, { key }: StageRequest): StageOutcome {
  if (isCancellation(error)) return { kind: 'cancelled', key };
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const message = cause instanceof Error ? cause.message : String(cause);
  return { kind: 'failed', key, code: 'ENGINE_BUG', message, attempts: 0 };
}
