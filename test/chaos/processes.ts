import { readdirSync, readFileSync } from 'node:fs';

/** Pids of all processes whose command line, environment or working folder names `folder`. */
export function processesOf(folder: string): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => pid !== process.pid && names(pid, folder));
}

function names(pid: number, folder: string): boolean {
  return ['cmdline', 'environ'].some((file) => readProc(pid, file).includes(folder));
}

export function commandOf(pid: number): string {
  return readProc(pid, 'cmdline').replaceAll('\0', ' ').slice(0, 120);
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
