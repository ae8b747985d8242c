import { closeSync, openSync, readSync } from 'node:fs';
import { diskFailure, errnoOf } from './disk-failure.ts';

/** Files that are read here and there, some of them kept open between reads. */
export interface OpenFiles {
  /** What of `target` could be filled from `position`; undefined when there is no such file. */
  readAt(path: string, target: Buffer, position: number): Buffer | undefined;
  close(): void;
}

export function createOpenFiles(limit: number): OpenFiles {
  const descriptors = new Map<string, number>();

  function open(path: string): number {
    const known = descriptors.get(path);
    if (known !== undefined) return known;
    const [oldest] = descriptors;
    if (descriptors.size >= limit && oldest !== undefined) {
      descriptors.delete(oldest[0]);
      closeSync(oldest[1]);
    }
    const descriptor = openSync(path, 'r');
    descriptors.set(path, descriptor);
    return descriptor;
  }

  return {
    readAt(path, target, position) {
      try {
        const descriptor = open(path);
        let done = 0;
        for (let got = -1; got !== 0 && done < target.length; done += got)
          got = readSync(descriptor, target, done, target.length - done, position + done);
        return target.subarray(0, done);
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return undefined;
        throw diskFailure(error, `reading ${path}`);
      }
    },
    close() {
      for (const descriptor of descriptors.values()) closeSync(descriptor);
      descriptors.clear();
    },
  };
}
