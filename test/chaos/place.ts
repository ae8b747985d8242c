import { setTimeout as sleep } from 'node:timers/promises';
import type { ObjectBackend } from '../../store/object-backend.ts';

/** Something that can be done to a run's surroundings and is over by itself. */
export interface Fault {
  kind: string;
  /** What exactly was done; undefined: its victim is not there now, or refuses. */
  inject: (random: () => number) => Promise<string | undefined>;
}

/** Where the store of one disturbed run is, and what can be done to it. */
export interface Place {
  kind: 'disk' | 's3';
  /** As FRETSAW_STORE has it. */
  location: string;
  /** What command line and workers need to reach it. */
  env: Readonly<Record<string, string>>;
  /** Empty where this host cannot disturb it. */
  faults: readonly Fault[];
  /** The same objects past all disturbance, for looking at the end. */
  backend(): ObjectBackend;
  close(): Promise<void>;
}

/** `least` to `most`, evenly. */
export function secondsBetween(random: () => number, least: number, most: number): number {
  return least + (most - least) * random();
}

/** A fault that lasts for `least` to `most` seconds. `begin` says whether it could be. */
export function lasting(
  kind: string,
  [least, most]: readonly [number, number],
  { begin, end }: { begin: () => boolean; end: () => void },
): Fault {
  return {
    kind,
    inject: async (random) => {
      const seconds = secondsBetween(random, least, most);
      const hasBegun = begin();
      await sleep(seconds * 1000);
      end();
      return hasBegun ? `${kind} ${seconds.toFixed(1)} s` : undefined;
    },
  };
}
