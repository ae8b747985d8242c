import type { Act, RunControl } from '../activities/run-request.ts';

/** Acts remembered, so that hearing one again after continue-as-new changes nothing. */
const actsKept = 200;

/** What people have said about a run and its stages. */
export class ControlState {
  #isPaused: boolean;
  readonly #pausedStages: Set<string>;
  readonly #approvedStages: Set<string>;
  readonly #acts: string[];

  constructor(before: RunControl | undefined) {
    this.#isPaused = before?.isPaused ?? false;
    this.#pausedStages = new Set(before?.pausedStages);
    this.#approvedStages = new Set(before?.approvedStages);
    this.#acts = [...(before?.acts ?? [])];
  }

  /** The whole run, not a stage of it. */
  get isAllPaused(): boolean {
    return this.#isPaused;
  }

  isPaused(stage: string): boolean {
    return this.#isPaused || this.#pausedStages.has(stage);
  }

  isApproved(stage: string): boolean {
    return this.#approvedStages.has(stage);
  }

  /** False for an act that was heard before. */
  hear({ id }: Act): boolean {
    if (this.#acts.includes(id)) return false;
    this.#acts.push(id);
    this.#acts.splice(0, this.#acts.length - actsKept);
    return true;
  }

  /** False when nothing changes by it. */
  pause(stage: string | undefined): boolean {
    if (stage !== undefined) return addTo(this.#pausedStages, stage);
    const isNew = !this.#isPaused;
    this.#isPaused = true;
    return isNew;
  }

  /** Of the whole run: of every stage too. */
  resume(stage: string | undefined): boolean {
    if (stage !== undefined) return this.#pausedStages.delete(stage);
    const isNew = this.#isPaused || this.#pausedStages.size > 0;
    this.#isPaused = false;
    this.#pausedStages.clear();
    return isNew;
  }

  approve(stage: string): boolean {
    return addTo(this.#approvedStages, stage);
  }

  toJson(): Pick<RunControl, 'isPaused' | 'pausedStages' | 'approvedStages' | 'acts'> {
    return {
      isPaused: this.#isPaused,
      pausedStages: [...this.#pausedStages],
      approvedStages: [...this.#approvedStages],
      acts: this.#acts,
    };
  }
}

function addTo(set: Set<string>, member: string): boolean {
  if (set.has(member)) return false;
  set.add(member);
  return true;
}
