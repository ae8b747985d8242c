import { stat } from 'node:fs/promises';
import type { JobFolder } from './job-folder.ts';
import type { Launcher } from './launchers/launcher.ts';

/**
 * When a job began to compute. One of this host begins when it is started; one that a scheduler has queued writes a file of its own when
 * its turn comes, and until then costs nobody a GPU hour. Undefined: it has not begun.
 */
export async function beganAtMs(
  launcher: Launcher,
  folder: JobFolder,
  startedAt: string,
): Promise<number | undefined> {
  if (launcher.usesThisHost) return Date.parse(startedAt);
  return (await stat(folder.began).catch(() => undefined))?.mtimeMs;
}
