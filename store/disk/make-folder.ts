import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { diskFailure, errnoOf } from './disk-failure.ts';

/**
 * mkdir -p; returns the highest folder that was made. On a read-only disk Node's recursive mkdir says
 * ENOENT, so the true reason is asked for with a plain one.
 */
export function makeFolder(folder: string): string | undefined {
  try {
    return mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw diskFailure(errnoOf(error) === 'ENOENT' ? trueError(folder, error) : error, `making ${folder}`);
  }
}

function trueError(folder: string, first: unknown): unknown {
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    try {
      mkdirSync(at);
      return first;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') return errnoOf(error) === 'EEXIST' ? first : error;
    }
  }
  return first;
}
