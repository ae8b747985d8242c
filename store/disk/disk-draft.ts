import { closeSync, openSync, unlinkSync, write, writeSync } from 'node:fs';
import type { Draft } from '../object-backend.ts';
import { diskFailure, errnoOf } from './disk-failure.ts';

/** Below this a write through the thread pool costs more than the write. */
const directBytes = 128 << 10;

/** A file in `tmp/`. The store's folder sweeps the ones that a killed process left. */
export interface DiskDraft extends Draft {
  readonly path: string;
  /** No more writes; safe to call again. */
  close(): void;
}

const drafts = new WeakSet<object>();

export function isDiskDraft(content: object): content is DiskDraft {
  return drafts.has(content);
}

/** Created with mode 0444: what is published is never opened for writing again. */
export function createDiskDraft(path: string): DiskDraft {
  let descriptor: number | undefined = openDraft(path);
  let sizeBytes = 0;
  const draft: DiskDraft = {
    path,
    get sizeBytes() {
      return sizeBytes;
    },
    async write(chunk) {
      if (descriptor === undefined) throw new Error('bug: writing to a finished draft');
      try {
        if (chunk.length <= directBytes) writeAll(descriptor, chunk);
        else await writeAsync(descriptor, chunk);
        sizeBytes += chunk.length;
      } catch (error) {
        throw diskFailure(error, `writing ${path}`);
      }
    },
    close() {
      const open = descriptor;
      descriptor = undefined;
      if (open !== undefined) closeSync(open);
    },
    async discard() {
      draft.close();
      try {
        unlinkSync(path);
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw diskFailure(error, `removing ${path}`);
      }
    },
  };
  drafts.add(draft);
  return draft;
}

function openDraft(path: string): number {
  try {
    return openSync(path, 'wx', 0o444);
  } catch (error) {
    throw diskFailure(error, `creating ${path}`);
  }
}

function writeAll(descriptor: number, chunk: Uint8Array): void {
  for (let done = 0; done < chunk.length;) done += writeSync(descriptor, chunk, done);
}

async function writeAsync(descriptor: number, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    done += await new Promise<number>((resolve, reject) => {
      write(descriptor, chunk, done, chunk.length - done, null, (error, written) => {
        if (error === null) resolve(written);
        else reject(error);
      });
    });
  }
}
