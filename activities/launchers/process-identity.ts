import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

/**
 * A process that can be recognised later. A pid alone is reused; host, pid and start time together
 * are not.
 */
export interface ProcessIdentity {
  host: string;
  pid: number;
  /** Opaque and comparable on one host: clock ticks since boot with the boot's id, or `ps`'s start time. */
  started: string;
}

export function identify(pid: number): ProcessIdentity | undefined {
  const started = startTime(pid);
  return started === undefined ? undefined : { host: hostname(), pid, started };
}

/** False for a process of another host: nobody here can know. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identity.host === hostname() && startTime(identity.pid) === identity.started;
}

/** Undefined when no such process runs; a zombie is not running. */
export function startTime(pid: number): string | undefined {
  return process.platform === 'linux' ? linuxStartTime(pid) : portableStartTime(pid);
}

/** @see proc_pid_stat(5): field 3 is the state, field 22 the start time in clock ticks since boot. */
function linuxStartTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, ticks] = [fields[0], fields[19]];
  return state === 'Z' || state === 'X' || ticks === undefined ? undefined : `${bootId()}/${ticks}`;
}

let boot: string | undefined;

function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}

function portableStartTime(pid: number): string | undefined {
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined;
  } catch {
    return undefined;
  }
}

/** Signals a whole process group; false when it is gone already. */
export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false;
  }
}
