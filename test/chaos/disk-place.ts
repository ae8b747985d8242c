import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDiskBackend } from '../../store/disk/disk-backend.ts';
import { secondsBetween, type Fault, type Place } from './place.ts';

const sizeMib = 512;

/**
 * A store on a disk of its own, that can be cut off and made to hang; that needs root and loop devices.
 * Elsewhere, and where nothing is to be disturbed, it is a folder that is left alone.
 */
export function openDiskPlace(folder: string, isDisturbed: boolean): Place {
  const store = join(folder, 'store');
  mkdirSync(store);
  const isMounted = isDisturbed && mount(store, join(folder, 'image'));
  return {
    kind: 'disk',
    location: store,
    env: {},
    faults: isMounted ? [cutOff(store), hang(store)] : [],
    backend: () => createDiskBackend(store),
    close: async () => {
      if (!isMounted) return;
      tryRun('fsfreeze', '-u', store);
      tryRun('umount', '-l', store);
    },
  };
}

function mount(folder: string, image: string): boolean {
  return (
    tryRun('truncate', '-s', `${sizeMib}M`, image) &&
    tryRun('mkfs.ext4', '-q', '-F', image) &&
    tryRun('mount', '-o', 'loop', image, folder)
  );
}

/** Every write fails; what is written can be read. A disk with a file open for writing refuses. */
function cutOff(folder: string): Fault {
  const kind = 'store cut off';
  return {
    kind,
    inject: async (random) => {
      const seconds = secondsBetween(random, 1, 5);
      const isCut = tryRun('mount', '-o', 'remount,ro', folder);
      await sleep(seconds * 1000);
      tryRun('mount', '-o', 'remount,rw', folder);
      return isCut ? `${kind} ${seconds.toFixed(1)} s` : undefined;
    },
  };
}

/** Every write hangs. */
function hang(folder: string): Fault {
  const kind = 'store hung';
  return {
    kind,
    inject: async (random) => {
      const seconds = secondsBetween(random, 0.5, 3.5);
      const isHung = tryRun('fsfreeze', '-f', folder);
      await sleep(seconds * 1000);
      tryRun('fsfreeze', '-u', folder);
      return isHung ? `${kind} ${seconds.toFixed(1)} s` : undefined;
    },
  };
}

function tryRun(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
