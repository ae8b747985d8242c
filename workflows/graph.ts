import type { Graph } from '../activities/run-request.ts';
import type { Outputs, StageOutcome } from '../activities/stage-request.ts';

/**
 * Which stages can start. A stage is ready when all that it reads has ended well; when one of them
 * ended badly it is blocked by that one, and everything behind it is too.
 */
export class Schedule {
  readonly #graph: Graph;
  readonly #dependents: number[][];
  readonly #missing: number[];
  readonly #index: ReadonlyMap<string, number>;
  readonly #outcomes = new Map<string, StageOutcome>();
  #ready: number[] = [];

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#index = new Map(graph.stages.map((stage, index) => [stage.name, index]));
    this.#dependents = graph.stages.map(() => []);
    this.#missing = graph.stages.map((stage) => new Set(stage.after).size);
    graph.stages.forEach((stage, index) => {
      for (const before of new Set(stage.after)) this.#dependents[before]?.push(index);
      if (stage.after.length === 0) this.#ready.push(index);
    });
  }

  get outcomes(): ReadonlyMap<string, StageOutcome> {
    return this.#outcomes;
  }

  has(name: string): boolean {
    return this.#index.has(name);
  }

  get isFinished(): boolean {
    return this.#outcomes.size === this.#graph.stages.length;
  }

  /** Takes the stages that have become ready since the last call, in plan order. */
  takeReady(): string[] {
    const names = this.#ready
      .sort((a, b) => a - b)
      .map((index) => this.#graph.stages[index]?.name)
      .filter((name) => name !== undefined && !this.#outcomes.has(name));
    this.#ready = [];
    return names as string[];
  }

  /** Outputs of the stages that `names` read, each once. */
  inputsOf(names: readonly string[]): [string, Outputs][] {
    const before = new Set(names.flatMap((name) => this.#stage(name)?.after ?? []));
    return [...before].flatMap((index) => {
      const name = this.#graph.stages[index]?.name ?? '';
      const outcome = this.#outcomes.get(name);
      return outcome?.kind === 'cached' || outcome?.kind === 'ran' ? [[name, outcome.outputs]] : [];
    });
  }

  /** Notes how a stage ended; returns it and every stage that this blocks. */
  end(name: string, outcome: StageOutcome): [string, StageOutcome][] {
    if (this.#outcomes.has(name)) return [];
    this.#outcomes.set(name, outcome);
    const ended: [string, StageOutcome][] = [[name, outcome]];
    const isGood = outcome.kind === 'cached' || outcome.kind === 'ran';
    for (const index of this.#dependents[this.#index.get(name) ?? -1] ?? []) {
      const dependent = this.#graph.stages[index];
      if (dependent === undefined) continue;
      if (isGood) this.#release(index);
      else ended.push(...this.end(dependent.name, behind(name, outcome)));
    }
    return ended;
  }

  /** Stages that have not ended when their run does. */
  cancelRest(): void {
    for (const { name } of this.#graph.stages) {
      if (!this.#outcomes.has(name)) this.#outcomes.set(name, { kind: 'cancelled' });
    }
  }

  #release(index: number): void {
    const left = (this.#missing[index] ?? 0) - 1;
    this.#missing[index] = left;
    if (left === 0) this.#ready.push(index);
  }

  #stage(name: string): Graph['stages'][number] | undefined {
    return this.#graph.stages[this.#index.get(name) ?? -1];
  }
}

/** Blocked stages name the stage that failed, not the blocked one between. */
function behind(name: string, outcome: StageOutcome): StageOutcome {
  if (outcome.kind === 'blocked') return outcome;
  return outcome.kind === 'cancelled' ? { kind: 'cancelled' } : { kind: 'blocked', by: name };
}
