import { readdirSync, readFileSync } from 'node:fs';

/** Pids of all processes whose command line or environment names `folder`. */
export function processesOf(folder: string): number[] {
  return allPids().filter((pid) => pid !== process.pid && names(pid, folder));
}

/** Pids of the processes that torchrun made of the job in `folder`. */
export function ranksOf(folder: string): number[] {
  return allPids().filter((pid) => {
    const isRank = /(^|\0)RANK=\d/.test(readProc(pid, 'environ'));
    const command = readProc(pid, 'cmdline');
    return isRank && command.includes(folder) && !command.includes('torch.distributed');
  });
}

function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
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
