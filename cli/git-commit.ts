import { execFileSync } from 'node:child_process';

/** What git says of a folder: texts are empty where git is not there or has no answer. */
export interface CheckedOut {
  branch: string;
  /** `+changes` behind it when the working tree differs. */
  commit: string;
}

export function checkedOut(cwd: string): CheckedOut {
  const commit = git(cwd, 'rev-parse', 'HEAD');
  if (commit === '') return { branch: '', commit };
  const changes = git(cwd, 'status', '--porcelain', '--untracked-files=no');
  const branch = git(cwd, 'symbolic-ref', '--short', '--quiet', 'HEAD');
  return { branch, commit: changes === '' ? commit : `${commit}+changes` };
}

function git(cwd: string, ...args: string[]): string {
  try {
    return execFileSync('git', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}
