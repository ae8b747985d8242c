import { execFile } from 'node:child_process';
import { closeSync, fsync, openSync } from 'node:fs';
import { inParallel } from '../in-parallel.ts';

/** From so many files on, one syncfs of the whole file system is cheaper than an fsync each. */
const wholeSystemFrom = 32;
const flushesAtOnce = 16;

/** Resolves when these files and folders would survive a power loss. */
export type Flush = (paths: readonly string[]) => Promise<void>;

interface Waiting {
  paths: readonly string[];
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * Group commit: what is asked for while a flush is under way goes together into the next one. Many
 * paths are flushed by `sync -f` (syncfs, in GNU coreutils and busybox; Node has no call for it),
 * which waits for other writers' data on that file system too; few by an fsync each.
 */
export function createFlusher(root: string): Flush {
  let waiting: Waiting[] = [];
  let isFlushing = false;
  let hasSyncfs = process.platform === 'linux';

  async function flush(paths: readonly string[]): Promise<void> {
    if (paths.length >= wholeSystemFrom && hasSyncfs) {
      hasSyncfs = await syncfs(root);
      if (hasSyncfs) return;
    }
    await inParallel(paths, flushesAtOnce, flushPath);
  }

  async function rounds(): Promise<void> {
    isFlushing = true;
    for (let round = waiting; round.length > 0; round = waiting) {
      waiting = [];
      try {
        await flush([...new Set(round.flatMap(({ paths }) => paths))]);
        for (const { resolve } of round) resolve();
      } catch {
        // Whose file it was decides who fails.
        for (const { paths, resolve, reject } of round)
          await inParallel(paths, flushesAtOnce, flushPath).then(resolve, reject);
      }
    }
    isFlushing = false;
  }

  return (paths) =>
    new Promise((resolve, reject) => {
      waiting.push({ paths, resolve, reject });
      if (!isFlushing) void rounds();
    });
}

function flushPath(path: string): Promise<void> {
  const descriptor = openSync(path, 'r');
  return new Promise((resolve, reject) => {
    fsync(descriptor, (error) => {
      closeSync(descriptor);
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** False when it failed, for whatever reason: then each path is flushed by itself, and says why. */
function syncfs(folder: string): Promise<boolean> {
  return new Promise((resolve) => {
    execFile('sync', ['-f', folder], (error) => {
      resolve(error === null);
    });
  });
}
