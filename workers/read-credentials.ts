import { readFileSync, statSync } from 'node:fs';
import { Failure } from '../core/errors.ts';

/**
 * The environment with what a credentials file adds: `NAME=value` lines, blank lines and `#` comments; the file wins. One that others may read is refused.
 */
export function withCredentials(env: NodeJS.ProcessEnv, path: string | undefined): NodeJS.ProcessEnv {
  if (path === undefined) return env;
  return { ...env, ...Object.fromEntries(readLines(path)) };
}

function readLines(path: string): [name: string, value: string][] {
  const text = readPrivate(path);
  return text.split('\n').flatMap((line, index): [string, string][] => {
    if (/^\s*(#.*)?$/.test(line)) return [];
    const [, name, value] = /^([A-Za-z_]\w*)=(.*?)\r?$/.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      throw new Failure('BAD_INPUT', `${path}:${index + 1}: expected NAME=value`);
    }
    return [[name, value]];
  });
}

function readPrivate(path: string): string {
  let mode: number;
  try {
    ({ mode } = statSync(path));
  } catch (cause) {
    throw new Failure('NOT_FOUND', `no credentials file ${path}`, { cause });
  }
  if ((mode & 0o077) !== 0) {
    const found = (mode & 0o777).toString(8).padStart(4, '0');
    throw new Failure('BAD_INPUT', `${path} has mode ${found}: others may read it; chmod 600 ${path}`);
  }
  return readFileSync(path, 'utf8');
}
