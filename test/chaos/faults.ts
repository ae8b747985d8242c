import { setTimeout as sleep } from 'node:timers/promises';
import { seededIndex } from '../../selection/random.ts';
import type { ChaosRig, Victim } from './chaos-rig.ts';
import { secondsBetween, type Fault } from './place.ts';

export interface Injected {
  /** Seconds since the run began. */
  at: number;
  kind: string;
  /** What exactly was done. */
  what: string;
  /** Jobs that were training when it came. */
  training: number;
}

const victims: readonly Victim[] = ['job', 'rank', 'worker 1', 'worker 2', 'server', 'command line'];

/** All that can be done to a run of the rig. */
export function faultsOf(rig: ChaosRig): Fault[] {
  return [
    ...victims.flatMap((victim) => [kill(rig, victim), freeze(rig, victim)]),
    cutOff(rig),
    ...rig.place.faults,
  ];
}

/**
 * Faults in random order, each kind once before any comes again. One whose victim is not there is put
 * back and comes later.
 */
export class FaultDeck {
  readonly #kinds: readonly Fault[];
  readonly #random: () => number;
  #left: Fault[] = [];

  constructor(kinds: readonly Fault[], random: () => number) {
    this.#random = random;
    this.#kinds = kinds;
  }

  async injectOne(): Promise<Pick<Injected, 'kind' | 'what'> | undefined> {
    if (this.#left.length === 0) this.#left = shuffled(this.#kinds, this.#random);
    for (const fault of [...this.#left]) {
      const what = await fault.inject(this.#random);
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

function kill(rig: ChaosRig, victim: Victim): Fault {
  const kind = `${victim} killed`;
  return {
    kind,
    inject: async (random) => {
      const pid = rig.find(victim, random);
      if (pid === undefined) return undefined;
      // Of a job the whole group, as far as a signal to it goes; of the others the process alone.
      return signal(victim === 'job' ? -pid : pid, 'SIGKILL') ? kind : undefined;
    },
  };
}

/** Longer than a heartbeat at times, so that its work is given to another while it is frozen. */
function freeze(rig: ChaosRig, victim: Victim): Fault {
  const kind = `${victim} frozen`;
  return {
    kind,
    inject: async (random) => {
      const pid = rig.find(victim, random);
      const seconds = secondsBetween(random, 1, 8);
      if (pid === undefined || !signal(pid, 'SIGSTOP')) return undefined;
      await sleep(seconds * 1000);
      signal(pid, 'SIGCONT');
      return `${kind} ${seconds.toFixed(1)} s`;
    },
  };
}

/** It lives, its jobs and the store too; its work is given to another all the same. */
function cutOff(rig: ChaosRig): Fault {
  const kind = 'worker 2 cut off from the server';
  return {
    kind,
    inject: async (random) => {
      const seconds = secondsBetween(random, 1, 15);
      if (!rig.isSecondWorkerAlive) return undefined;
      rig.link.cut();
      await sleep(seconds * 1000);
      rig.link.mend();
      return `${kind} ${seconds.toFixed(1)} s`;
    },
  };
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
