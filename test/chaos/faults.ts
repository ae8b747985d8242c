import { setTimeout as sleep } from 'node:timers/promises';
import { seededIndex } from '../../selection/random.ts';
import type { ChaosRig, Victim } from './chaos-rig.ts';

export interface Injected {
  /** Seconds since the run began. */
  at: number;
  kind: string;
  /** What exactly was done. */
  what: string;
  /** Jobs that were training when it came. */
  training: number;
}

interface Fault {
  kind: string;
  /** Undefined: its victim is not there now. */
  inject: (rig: ChaosRig, random: () => number) => Promise<string | undefined>;
}

const victims: readonly Victim[] = ['job', 'worker 1', 'worker 2', 'server', 'command line'];
const faults: readonly Fault[] = [
  ...victims.flatMap((victim) => [kill(victim), freeze(victim)]),
  { kind: 'store cut off', inject: cutStore },
  { kind: 'store hung', inject: hangStore },
];

/**
 * Faults in random order, each kind once before any comes again. One whose victim is not there is put
 * back and comes later.
 */
export class FaultDeck {
  readonly #kinds: readonly Fault[];
  readonly #random: () => number;
  #left: Fault[] = [];

  /** `only`: kinds to take; all when absent. */
  constructor(random: () => number, only?: readonly string[]) {
    this.#random = random;
    this.#kinds = faults.filter(({ kind }) => only?.includes(kind) ?? true);
  }

  async injectOne(rig: ChaosRig): Promise<Pick<Injected, 'kind' | 'what'> | undefined> {
    if (this.#left.length === 0) this.#left = shuffled(this.#kinds, this.#random);
    for (const fault of [...this.#left]) {
      const what = await fault.inject(rig, this.#random);
      if (what === undefined) continue;
      this.#left.splice(this.#left.indexOf(fault), 1);
      return { kind: fault.kind, what };
    }
    return undefined;
  }
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  const left = [...list];
  return list.flatMap(() => left.splice(seededIndex(random, left.length), 1));
}

function kill(victim: Victim): Fault {
  const kind = `${victim} killed`;
  return {
    kind,
    inject: async (rig) => {
      const pid = rig.find(victim);
      if (pid === undefined) return undefined;
      // Of a job the whole group, as a lost node takes it; of the others the process alone.
      return signal(victim === 'job' ? -pid : pid, 'SIGKILL') ? kind : undefined;
    },
  };
}

/** Longer than a heartbeat at times, so that its work is given to another while it is frozen. */
function freeze(victim: Victim): Fault {
  const kind = `${victim} frozen`;
  return {
    kind,
    inject: async (rig, random) => {
      const pid = rig.find(victim);
      const seconds = 1 + 7 * random();
      if (pid === undefined || !signal(pid, 'SIGSTOP')) return undefined;
      await sleep(seconds * 1000);
      signal(pid, 'SIGCONT');
      return `${kind} ${seconds.toFixed(1)} s`;
    },
  };
}

async function cutStore({ disk }: ChaosRig, random: () => number): Promise<string | undefined> {
  if (disk === undefined) return undefined;
  const seconds = 1 + 4 * random();
  const isCut = disk.cut();
  await sleep(seconds * 1000);
  disk.join();
  // A disk with a file open for writing refuses to become read-only: the fault comes later.
  return isCut ? `store cut off ${seconds.toFixed(1)} s` : undefined;
}

async function hangStore({ disk }: ChaosRig, random: () => number): Promise<string | undefined> {
  if (disk === undefined) return undefined;
  const seconds = 0.5 + 3 * random();
  const isHung = disk.freeze();
  await sleep(seconds * 1000);
  disk.thaw();
  return isHung ? `store hung ${seconds.toFixed(1)} s` : undefined;
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
