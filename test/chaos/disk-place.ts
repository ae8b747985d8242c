import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createDiskBackend } from '../../store/disk/disk-backend.ts';
import { mountImage, tryRun } from '../support/small-disk.ts';
import { lasting, type Fault, type Place } from './place.ts';

const sizeMib = 512;

/**
 * A store on a disk of its own, that can be cut off and made to hang; that needs root and loop devices.
 * Elsewhere, and where nothing is to be disturbed, it is a folder that is left alone.
 */
export function openDiskPlace(folder: string, isDisturbed: boolean): Place {
  const store = join(folder, 'store');
  mkdirSync(store);
  const isMounted =
    isDisturbed &&
    mountImage(store, { image: join(folder, 'image'), sizeMib, mkfs: ['mkfs.ext4', '-q', '-F'] });
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

/** Every write fails; what is written can be read. A disk with a file open for writing refuses. */
function cutOff(folder: string): Fault {
  return lasting('store cut off', [1, 5], {
    begin: () => tryRun('mount', '-o', 'remount,ro', folder),
    end: () => tryRun('mount', '-o', 'remount,rw', folder),
  });
}

/** Every write hangs. */
function hang(folder: string): Fault {
  return lasting('store hung', [0.5, 3.5], {
    begin: () => tryRun('fsfreeze', '-f', folder),
    end: () => tryRun('fsfreeze', '-u', folder),
  });
}
