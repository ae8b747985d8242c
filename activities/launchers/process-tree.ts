import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { identify, isAlive, type ProcessIdentity } from './process-identity.ts';

/** A process and all that descend from it now; those whose parents died before are nobody's. */
export function processTree(pid: number): ProcessIdentity[] {
  const children = new Map<number, number[]>();
  for (const [child, parent] of process.platform === 'linux' ? parentsOnLinux() : parentsByPs()) {
    const known = children.get(parent) ?? [];
    known.push(child);
    children.set(parent, known);
  }
  const found = [pid];
  for (let at = 0; at < found.length; at++) found.push(...(children.get(found[at] ?? 0) ?? []));
  return found.flatMap((one) => identify(one) ?? []);
}

/** SIGKILL to each of these that is still the process that was found, whatever its group. */
export function killAll(processes: readonly ProcessIdentity[]): void {
  for (const identity of processes) {
    if (!isAlive(identity)) continue;
    try {
      process.kill(identity.pid, 'SIGKILL');
    } catch {
      // It has ended by itself since.
    }
  }
}

/** @see proc_pid_stat(5): field 4 is the parent. */
function parentsOnLinux(): [child: number, parent: number][] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((name): [number, number][] => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      return [[Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])]];
    } catch {
      return [];
    }
  });
}

function parentsByPs(): [child: number, parent: number][] {
  const lines = execFileSync('ps', ['-axo', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
  return lines.map((line) => {
    const [child = 0, parent = 0] = line.trim().split(/\s+/).map(Number);
    return [child, parent];
  });
}
