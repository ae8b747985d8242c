import { setTimeout as sleep } from 'node:timers/promises';
import { exists, type JobFolder } from '../job-folder.ts';
import type { Launcher } from './launcher.ts';

/** What a scheduler calls the job of an attempt. Key and number are the two last parts of its folder. */
export function attemptName(folder: JobFolder): string {
  const key = folder.path.split('/').at(-2) ?? '';
  return `fretsaw-${key.slice(0, 16)}-${folder.attempt}`;
}

/** Whether the job itself says so. */
export async function hasEnded(folder: JobFolder): Promise<boolean> {
  return (await exists(folder.exit)) || (await exists(folder.done));
}

/** `Launcher.wait` where nobody tells that a job has ended. */
export async function waitByPolling(
  launcher: Pick<Launcher, 'poll'>,
  folder: JobFolder,
  timeoutMs: number,
): Promise<void> {
  const until = Date.now() + timeoutMs;
  while (Date.now() < until && (await launcher.poll(folder)) === 'running')
    await sleep(Math.min(250, timeoutMs));
}

/** One look at all jobs for everybody who asks within `everyMs`; `forget` it when something was changed. */
export function sharedLook<T>(
  look: () => Promise<T>,
  everyMs: number,
): { get: () => Promise<T>; forget: () => void } {
  let found: { atMs: number; jobs: Promise<T> } | undefined;
  return {
    get: () => {
      if (found === undefined || Date.now() - found.atMs > everyMs)
        found = { atMs: Date.now(), jobs: look() };
      return found.jobs;
    },
    forget: () => {
      found = undefined;
    },
  };
}
