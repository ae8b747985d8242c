import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ReadSpec, SpecFile } from '../compiler/load-spec.ts';
import { maximumSpecBytes } from '../compiler/parse-yaml.ts';

/** Reads spec files below `cwd`; a file that no person wrote is refused by its size, unread. */
export function specReader(cwd: string): ReadSpec {
  return (path) => readSpecFile(resolve(cwd, path));
}

function readSpecFile(path: string): SpecFile {
  try {
    const { size: sizeBytes } = statSync(path);
    if (sizeBytes > maximumSpecBytes) return { kind: 'too-large', sizeBytes };
    return { kind: 'text', text: readFileSync(path, 'utf8') };
  } catch (error) {
    return { kind: 'missing', reason: reasonOf(error) };
  }
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'there is no such file';
    case 'EISDIR':
      return 'this is a folder, not a spec';
    case 'EACCES':
      return 'may not be read';
    default:
      throw error;
  }
}
