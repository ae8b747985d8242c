import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ProcessIdentity } from './process-identity.ts';

const timeoutMs = 30_000;

/**
 * Where every Python process among these is now, by py-spy: one text with a heading for each. It
 * reads memory without pausing anything, so a stopped or hung process is no trouble. What py-spy
 * says when it cannot is part of the text.
 */
export async function dumpStacks(pySpy: string, processes: readonly ProcessIdentity[]): Promise<string> {
  const interpreters = processes.filter(({ pid }) => /python/.test(programOf(pid)));
  const parts = await Promise.all(
    interpreters.map(async ({ pid }) => `== process ${pid}, rank ${rankOf(pid)}\n${await dump(pySpy, pid)}`),
  );
  return parts.length === 0 ? 'no Python process was found\n' : parts.join('\n');
}

function dump(pySpy: string, pid: number): Promise<string> {
  return new Promise((resolve) => {
    const args = ['dump', '--nonblocking', '--pid', String(pid)];
    execFile(pySpy, args, { timeout: timeoutMs }, (error, stdout, stderr) => {
      resolve(error === null ? stdout : `${stdout}${stderr || error.message}\n`);
    });
  });
}

function programOf(pid: number): string {
  return readProc(pid, 'cmdline').split('\0')[0] ?? '';
}

/** torchrun tells each process its rank in RANK; a job of one process is rank 0. */
function rankOf(pid: number): string {
  const entry = readProc(pid, 'environ')
    .split('\0')
    .find((one) => one.startsWith('RANK='));
  return entry === undefined ? '0' : entry.slice('RANK='.length);
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}
