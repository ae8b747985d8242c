import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify, isAlive, type ProcessIdentity } from '../activities/launchers/process-identity.ts';

/**
 * Runs `work` while no other process of this host is inside the same lock. The holder writes down
 * who it is, so that a lock whose holder died is taken over and never has to be cleared by hand.
 */
export async function withLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(folder, { recursive: true });
  const lock = join(folder, 'lock');
  const own = join(folder, `.lock.${process.pid}`);
  writeFileSync(own, JSON.stringify(identify(process.pid)));
  try {
    while (!tryLink(own, lock)) {
      takeOverIfDead(lock);
      await sleep(20);
    }
  } finally {
    unlinkSync(own);
  }
  try {
    return await work();
  } finally {
    unlinkSync(lock);
  }
}

/** link() makes the lock and its content in one step. */
function tryLink(own: string, lock: string): boolean {
  try {
    linkSync(own, lock);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

/** Renames the dead holder's lock away; of several that try, one rename succeeds. */
function takeOverIfDead(lock: string): void {
  const holder = readIdentity(lock);
  if (holder === undefined || isAlive(holder)) return;
  const grave = `${lock}.dead.${process.pid}`;
  try {
    renameSync(lock, grave);
  } catch {
    return;
  }
  const moved = readIdentity(grave);
  if (moved !== undefined && isAlive(moved)) tryLink(grave, lock);
  unlinkSync(grave);
}

function readIdentity(path: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
}

/** Opens `path` for appending and writes a line that says who starts something now. */
export function openLog(path: string, line: string): number {
  const file = openSync(path, 'a');
  writeSync(file, `${line}\n`);
  return file;
}

export { closeSync as closeLog };
