import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { identify, isAlive, type ProcessIdentity } from '../activities/launchers/process-identity.ts';

/**
 * Command lines that use this home's server and worker now. Each has a file with pid and start time;
 * files of dead processes count for nothing.
 */
export function joinClients(folder: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(clientFile(folder, process.pid), JSON.stringify(identify(process.pid)));
}

export function leaveClients(folder: string): void {
  rmSync(clientFile(folder, process.pid), { force: true });
}

export function liveClients(folder: string): ProcessIdentity[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const client = readClient(join(folder, name));
    if (client !== undefined && isAlive(client)) return [client];
    rmSync(join(folder, name), { force: true });
    return [];
  });
}

const clientFile = (folder: string, pid: number): string => join(folder, `${pid}.json`);

function readClient(path: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
}
