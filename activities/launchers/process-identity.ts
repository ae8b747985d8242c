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

/** Undefined when there is no such process. A child that has ended and was not waited for still is one. */
export function identify(pid: number): ProcessIdentity | undefined {
  const found = lookAt(pid);
  return found === undefined ? undefined : { host: hostname(), pid, started: found.started };
}

/** False for a process of another host: nobody here can know. */
export function isAlive(identity: ProcessIdentity): boolean {
  if (identity.host !== hostname()) return false;
  const found = lookAt(identity.pid);
  return found?.isRunning === true && found.started === identity.started;
}

interface Look {
  started: string;
  /** A zombie has a start time, and does not run. */
  isRunning: boolean;
}

function lookAt(pid: number): Look | undefined {
  return process.platform === 'linux' ? lookOnLinux(pid) : lookByPs(pid);
}

/** @see proc_pid_stat(5): field 3 is the state, field 22 the start time in clock ticks since boot. */
function lookOnLinux(pid: number): Look | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = '', ticks] = [fields[0], fields[19]];
  return ticks === undefined
    ? undefined
    : { started: `${bootId()}/${ticks}`, isRunning: !/[ZX]/.test(state) };
}

let boot: string | undefined;

function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}

function lookByPs(pid: number): Look | undefined {
  try {
    const [state = '', started = ''] = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
    })
      .trim()
      .split(/\s+(.*)/);
    return started === '' ? undefined : { started, isRunning: !state.startsWith('Z') };
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
