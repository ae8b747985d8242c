import { spawnSync } from 'node:child_process';
import { relative, resolve } from 'node:path';
import type { ReadSpec } from '../compiler/load-spec.ts';
import { UsageError } from './command.ts';

/** Reads spec files as they were at a git revision; paths are below `cwd`, as in the working tree. */
export function gitSpecReader(revision: string, cwd: string): ReadSpec {
  const top = git(['rev-parse', '--show-toplevel'], cwd);
  if (top === undefined) throw new UsageError('--against: this folder is in no git repository');
  const commit = git(['rev-parse', '--verify', '--quiet', `${revision}^{commit}`], cwd);
  if (commit === undefined) throw new UsageError(`--against: git knows no revision ${revision}`);
  return (path) => {
    const below = relative(top, resolve(cwd, path)).split('\\').join('/');
    const text = git(['show', `${commit}:${below}`], top);
    if (text !== undefined) return { kind: 'text', text: `${text}\n` };
    return { kind: 'missing', reason: `${revision} has no ${below}` };
  };
}

function git(args: readonly string[], cwd: string): string | undefined {
  const { status, stdout, error } = spawnSync('git', [...args], {
    cwd,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (error !== undefined) throw new UsageError(`--against needs git: ${error.message}`);
  return status === 0 ? stdout.trimEnd() : undefined;
}
