import { closeSync, fchmodSync, openSync, unlinkSync, write, writeSync } from 'node:fs';
import type { Draft } from '../object-backend.ts';
import { diskFailure, errnoOf } from './disk-failure.ts';

/** Up to this size bytes are written where they were hashed: another core would have to fetch them again, at a third more CPU (measured). */
const directBytes = 2 << 20;

/** A file in `tmp/`. The store's folder sweeps the ones that a killed process left. */
export interface DiskDraft extends Draft {
  readonly path: string;
  /** No more writes; safe to call again. */
  close(): void;
}

/** Drafts that have their file open now, the one that has rested longest first. */
export interface OpenDrafts {
  readonly limit: number;
  readonly open: Set<{ rest: () => void }>;
}

const drafts = new WeakSet<object>();

export function isDiskDraft(content: object): content is DiskDraft {
  return drafts.has(content);
}

/**
 * Becomes mode 0444 when it is closed: what is published is never opened for writing again. Above the
 * limit of open ones the draft that was written to least recently rests: it opens its file again at its
 * next write.
 */
export function createDiskDraft(path: string, others: OpenDrafts): DiskDraft {
  let descriptor: number | undefined;
  let isWriting = false;
  let isFinished = false;
  let sizeBytes = 0;

  const self = {
    rest(): void {
      if (isWriting || descriptor === undefined) return;
      closeSync(descriptor);
      descriptor = undefined;
      others.open.delete(self);
    },
  };

  function wake(flags: 'wx' | 'r+'): number {
    others.open.delete(self);
    for (const other of others.open) {
      if (others.open.size < others.limit) break;
      other.rest();
    }
    descriptor ??= openSync(path, flags, 0o600);
    others.open.add(self);
    return descriptor;
  }

  async function append(chunk: Uint8Array): Promise<void> {
    const open = wake('r+');
    isWriting = true;
    try {
      if (chunk.length <= directBytes) writeAll(open, chunk, sizeBytes);
      else await writeAsync(open, chunk, sizeBytes);
    } finally {
      isWriting = false;
    }
  }

  const draft: DiskDraft = {
    path,
    get sizeBytes() {
      return sizeBytes;
    },
    async write(chunk) {
      if (isFinished) throw new Error('bug: writing to a finished draft');
      try {
        await append(chunk);
        sizeBytes += chunk.length;
      } catch (error) {
        throw diskFailure(error, `writing ${path}`);
      }
    },
    writeAt(chunk, position) {
      if (isFinished) throw new Error('bug: writing to a finished draft');
      try {
        writeAll(wake('r+'), chunk, position);
        sizeBytes = Math.max(sizeBytes, position + chunk.length);
      } catch (error) {
        throw diskFailure(error, `writing ${path}`);
      }
    },
    close() {
      if (isFinished) return;
      isFinished = true;
      fchmodSync(wake('r+'), 0o444);
      self.rest();
    },
    async discard() {
      isFinished = true;
      self.rest();
      try {
        unlinkSync(path);
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw diskFailure(error, `removing ${path}`);
      }
    },
  };
  drafts.add(draft);
  try {
    wake('wx');
  } catch (error) {
    throw diskFailure(error, `creating ${path}`);
  }
  return draft;
}

/** The same bytes for a second reader, who must not use them up. */
export function lendDraft(draft: DiskDraft): DiskDraft {
  draft.close();
  const lent: DiskDraft = {
    path: draft.path,
    sizeBytes: draft.sizeBytes,
    write: async () => {
      throw new Error('bug: writing to a finished draft');
    },
    writeAt: () => {
      throw new Error('bug: writing to a finished draft');
    },
    close: () => undefined,
    discard: async () => undefined,
  };
  drafts.add(lent);
  return lent;
}

function writeAll(descriptor: number, chunk: Uint8Array, position: number): void {
  for (let done = 0; done < chunk.length;)
    done += writeSync(descriptor, chunk, done, chunk.length - done, position + done);
}

async function writeAsync(descriptor: number, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    done += await new Promise<number>((resolve, reject) => {
      write(descriptor, chunk, done, chunk.length - done, position + done, (error, written) => {
        if (error === null) resolve(written);
        else reject(error);
      });
    });
  }
}
