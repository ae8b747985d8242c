import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { kindVersions as versionsOf, type KindVersions } from '../kinds/versions.ts';
import { sha256Text } from '../store/sha256.ts';

export type { KindVersions };

/** Versions and code digests of the named kinds (all when absent) as their code lies below `root` now. */
export function kindVersions(root: string, names?: Iterable<string>): KindVersions {
  return versionsOf({ readFile: (path) => readText(join(root, path)), sha256: sha256Text }, names);
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return undefined;
    throw error;
  }
}
