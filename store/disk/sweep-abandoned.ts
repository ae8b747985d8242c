import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Nobody writes one file for this long without touching it. */
const abandonedMs = 24 * 60 * 60 * 1000;

/** Removes drafts that a killed process left. What cannot be removed now stays for the next time. */
export function sweepAbandoned(folder: string, isDraft: (name: string) => boolean): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return; // nothing there yet, or not readable: the first real access says why
  }
  for (const name of names.filter(isDraft)) {
    const path = join(folder, name);
    try {
      if (Date.now() - lstatSync(path).mtimeMs > abandonedMs) rmSync(path, { recursive: true, force: true });
    } catch {
      // another process sweeps too, or the disk is read-only
    }
  }
}
