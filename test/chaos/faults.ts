import { setTimeout as sleep } from 'node:timers/promises';
import { seededIndex } from '../../selection/random.ts';
import type { ChaosRig, Victim } from './chaos-rig.ts';

export interface Injected {
  /** Seconds since the run began. */
  at: number;
  what: string;
}

type Fault = (rig: ChaosRig, random: () => number) => Promise<string | undefined>;

const victims: readonly Victim[] = ['job', 'worker 1', 'worker 2', 'server', 'command line'];

/** Each victim is killed or frozen as often as another; with a disk of its own, the store is hit too. */
export function faultsFor(rig: ChaosRig): Fault[] {
  const faults: Fault[] = victims.flatMap((victim) => [kill(victim), freeze(victim)]);
  if (rig.disk !== undefined) faults.push(cutStore, hangStore);
  return faults;
}

/** Tries faults until one finds its victim: not everything is always there to be hit. */
export async function injectOne(rig: ChaosRig, random: () => number): Promise<string | undefined> {
  const faults = faultsFor(rig);
  for (let tries = 0; tries < 20; tries++) {
    const fault = faults[seededIndex(random, faults.length)];
    const done = await fault?.(rig, random);
    if (done !== undefined) return done;
  }
  return undefined;
}

function kill(victim: Victim): Fault {
  return async (rig) => {
    const pid = rig.find(victim);
    if (pid === undefined) return undefined;
    // Of a job the whole group, as a lost node takes it; of the others the process alone.
    return signal(victim === 'job' ? -pid : pid, 'SIGKILL') ? `${victim} killed` : undefined;
  };
}

/** Longer than a heartbeat at times, so that its work is given to another while it is frozen. */
function freeze(victim: Victim): Fault {
  return async (rig, random) => {
    const pid = rig.find(victim);
    const seconds = 1 + 7 * random();
    if (pid === undefined || !signal(pid, 'SIGSTOP')) return undefined;
    await sleep(seconds * 1000);
    signal(pid, 'SIGCONT');
    return `${victim} frozen ${seconds.toFixed(1)} s`;
  };
}

async function cutStore(rig: ChaosRig, random: () => number): Promise<string> {
  const seconds = 1 + 4 * random();
  rig.disk?.cut();
  await sleep(seconds * 1000);
  rig.disk?.join();
  return `store cut off ${seconds.toFixed(1)} s`;
}

async function hangStore(rig: ChaosRig, random: () => number): Promise<string> {
  const seconds = 0.5 + 3 * random();
  rig.disk?.freeze();
  await sleep(seconds * 1000);
  rig.disk?.thaw();
  return `store hung ${seconds.toFixed(1)} s`;
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
