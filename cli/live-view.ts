import type { Plan } from '../compiler/plan.ts';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import type { StageOutcome, StageState } from '../workflows/index.ts';
import type { Terminal } from './command.ts';
import { paint } from './paint.ts';
import { describePoolWait, type PoolWait } from './pool-queues.ts';
import {
  describeProgress,
  describeSeconds,
  readColdStart,
  readStageProgress,
  type StageProgress,
} from './progress.ts';
import { RecentRate } from './recent-rate.ts';
import { describeOutcome } from './run-table.ts';

interface Follow {
  startedAt: number;
  /** For jobs that tell no rate themselves. */
  rate: RecentRate;
}

/**
 * The state of a run as it goes: on a terminal, one line for each stage at work, redrawn in place;
 * in a pipe, one plain line whenever a stage starts or ends, and every half minute while it works.
 */
export class LiveView {
  readonly #plan: Plan;
  readonly #terminal: Terminal;
  readonly #work: string;
  readonly #states = new Map<string, StageState>();
  readonly #follows = new Map<string, Follow>();
  readonly #toldAt = new Map<string, number>();
  readonly #waits = new Map<string, PoolWait>();
  #drawnLines = 0;
  #hasToldCold = false;

  constructor(plan: Plan, terminal: Terminal, work: string) {
    this.#plan = plan;
    this.#terminal = terminal;
    this.#work = work;
  }

  get outcomes(): Map<string, StageOutcome> {
    return new Map([...this.#states].flatMap(([name, state]) => (hasEnded(state) ? [[name, state]] : [])));
  }

  /** A run whose history was cut tells anew how its stages ended: that is said once. */
  set(name: string, state: StageState): void {
    const before = this.#states.get(name);
    this.#states.set(name, state);
    if (before !== undefined && hasEnded(before)) return;
    if (state.kind === 'running') {
      if (!this.#follows.has(name))
        this.#follows.set(name, { startedAt: Date.now(), rate: new RecentRate() });
      return;
    }
    if (state.kind === 'paused') this.#print(`${this.#label(name)}  paused`);
    if (state.kind === 'approval') this.#print(`${this.#label(name)}  waits for approval: ${state.question}`);
    if (!hasEnded(state) || state.kind === 'cached') return;
    this.#print(`${this.#label(name)}  ${describeOutcome(state, this.#terminal)}${this.#took(name)}`);
  }

  /** Stages at work with their keys, for those who look what they wait for. */
  get running(): { name: string; pool: string; key: StageKey }[] {
    return this.#plan.stages.flatMap(({ name, pool }) => {
      const state = this.#states.get(name);
      return state?.kind === 'running' ? [{ name, pool, key: state.key }] : [];
    });
  }

  /** Undefined: a worker has taken it. A wait is said at once where nothing is redrawn. */
  setWait(name: string, wait: PoolWait | undefined): void {
    const before = this.#waits.get(name);
    if (wait === undefined) this.#waits.delete(name);
    else this.#waits.set(name, wait);
    if (this.#terminal.isTty || wait === undefined) return;
    if (before?.since.getTime() === wait.since.getTime() && before.pollers === wait.pollers) return;
    this.#terminal.err(`${this.#label(name)}  ${describePoolWait(wait)}\n`);
  }

  draw(): void {
    const running = this.#plan.stages.filter(({ name }) => this.#states.get(name)?.kind === 'running');
    this.#tellColdStart();
    const lines = running.map(
      ({ name }) =>
        `${this.#label(name)}  ${paint(this.#terminal, 'cyan', 'running')}  ${this.#progress(name)}`,
    );
    if (this.#terminal.isTty) this.#redraw(lines);
    else this.#tell(running.map(({ name }) => name));
  }

  clear(): void {
    if (this.#drawnLines > 0) this.#terminal.out(`\u001b[${this.#drawnLines}A\u001b[J`);
    this.#drawnLines = 0;
  }

  note(text: string): void {
    this.clear();
    this.#terminal.err(`${text}\n`);
  }

  /** Once a run: every job then imports PyTorch anew, which costs seconds each and hides a fault. */
  #tellColdStart(): void {
    if (this.#hasToldCold) return;
    for (const { key } of this.running) {
      const reason = readColdStart(this.#work, hexOf(key));
      if (reason === undefined) continue;
      this.#hasToldCold = true;
      this.note(`note: engine jobs start cold, each importing PyTorch anew: ${reason}`);
      return;
    }
  }

  #redraw(lines: string[]): void {
    this.clear();
    const left = this.#plan.stages.length - this.outcomes.size;
    const shown = lines.slice(0, 20).map((line) => line.slice(0, this.#terminal.columns + 9));
    shown.push(
      paint(
        this.#terminal,
        'dim',
        `${this.outcomes.size}/${this.#plan.stages.length} stages, ${lines.length} at work, ${left - lines.length} to come`,
      ),
    );
    this.#terminal.out(`${shown.join('\n')}\n`);
    this.#drawnLines = shown.length;
  }

  #tell(names: string[]): void {
    const now = Date.now();
    for (const name of names) {
      if (now - (this.#toldAt.get(name) ?? this.#follows.get(name)?.startedAt ?? now) < 30_000) continue;
      this.#toldAt.set(name, now);
      this.#terminal.err(`${this.#label(name)}  running  ${this.#progress(name)}\n`);
    }
  }

  #print(line: string): void {
    if (this.#terminal.isTty) {
      this.clear();
      this.#terminal.out(`${line}\n`);
    } else this.#terminal.err(`${line}\n`);
  }

  #progress(name: string): string {
    const state = this.#states.get(name);
    const follow = this.#follows.get(name);
    if (state?.kind !== 'running' || follow === undefined) return '';
    const wait = this.#waits.get(name);
    if (wait !== undefined) return describePoolWait(wait);
    const progress = readStageProgress(this.#work, hexOf(state.key));
    const age = describeSeconds((Date.now() - follow.startedAt) / 1000);
    const told = describeProgress(progress, this.#measure(follow, progress));
    return told === '' ? age : `${told}  (${age})`;
  }

  #measure(follow: Follow, progress: StageProgress | undefined): number | null {
    if (progress === undefined || progress.total === 0) return null;
    return follow.rate.see(progress.step, Date.now());
  }

  #took(name: string): string {
    const follow = this.#follows.get(name);
    return follow === undefined ? '' : `  ${describeSeconds((Date.now() - follow.startedAt) / 1000)}`;
  }

  #label(name: string): string {
    const width = Math.min(40, Math.max(...this.#plan.stages.map((stage) => stage.name.length)));
    return name.padEnd(width);
  }
}

function hasEnded(state: StageState): state is StageOutcome {
  return !['waiting', 'running', 'paused', 'approval'].includes(state.kind);
}
