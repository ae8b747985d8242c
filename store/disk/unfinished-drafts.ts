import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { UnfinishedUpload } from '../object-backend.ts';
import { diskFailure, errnoOf } from './disk-failure.ts';

/** Drafts of other processes, as they call them: `<pid>-<random>`. Whether one is at work only its age tells. */
export function unfinishedDrafts(folder: string): UnfinishedUpload[] {
  return namesIn(folder)
    .filter((name) => !name.startsWith(`${process.pid}-`))
    .flatMap((name) => {
      const path = join(folder, name);
      const startedAtMs = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs;
      if (startedAtMs === undefined) return [];
      const abort = async (): Promise<void> => {
        rmSync(path, { force: true, recursive: true });
      };
      return [{ name: `tmp/${name}`, startedAtMs, abort }];
    });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw diskFailure(error, folder);
  }
}
