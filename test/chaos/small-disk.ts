import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';

const sizeMib = 512;

/** A disk of its own for the store, that can be cut off and made to hang; needs root and loop devices. */
export class SmallDisk {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Undefined where that is not to be had: the store is then left alone. */
  static mount(folder: string, image: string): SmallDisk | undefined {
    mkdirSync(folder, { recursive: true });
    try {
      run('truncate', '-s', `${sizeMib}M`, image);
      run('mkfs.ext4', '-q', '-F', image);
      run('mount', '-o', 'loop', image, folder);
    } catch {
      return undefined;
    }
    return new SmallDisk(folder);
  }

  /** Every write fails; what is written can be read. False: it refuses, for a file is open for writing. */
  cut(): boolean {
    return tryRun('mount', '-o', 'remount,ro', this.#folder);
  }

  join(): void {
    tryRun('mount', '-o', 'remount,rw', this.#folder);
  }

  /** Every write hangs. */
  freeze(): boolean {
    return tryRun('fsfreeze', '-f', this.#folder);
  }

  thaw(): void {
    tryRun('fsfreeze', '-u', this.#folder);
  }

  unmount(): void {
    this.thaw();
    tryRun('umount', '-l', this.#folder);
  }
}

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: 'ignore' });
}

function tryRun(program: string, ...args: string[]): boolean {
  try {
    run(program, ...args);
    return true;
  } catch {
    return false;
  }
}
