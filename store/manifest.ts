import { artifactDigest, artifactTypes, type ArtifactType, type FileEntry } from '../core/artifact.ts';
import type { Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { checkFilePath } from './object-names.ts';
import { sha256Text } from './sha256.ts';
import type { Manifest } from './store.ts';
import { exactKeys, parseStored, type StoredObject } from './stored-json.ts';

/** Files in the order of the digest, so that `jq -cj .files | sha256sum` gives the artifact's name. */
export function makeManifest(
  type: ArtifactType,
  files: readonly FileEntry[],
): { digest: Digest; text: string } {
  const sorted = [...files]
    .sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
    .map(({ path, sha256, size }) => ({ path, sha256, size }));
  checkPaths(sorted);
  const manifest = { schema: 'fretsaw/manifest/v1', type, files: sorted };
  return { digest: artifactDigest(sorted, sha256Text), text: `${JSON.stringify(manifest)}\n` };
}

/** CORRUPT when the text is not a manifest or does not have this digest. */
export function parseManifest(text: string, digest: Digest): Manifest {
  const where = `manifest of ${digest}`;
  const raw = exactKeys(parseStored(text, 'fretsaw/manifest/v1', where), ['schema', 'type', 'files'], where);
  const type = artifactTypes.find((known) => known === raw['type']);
  if (type === undefined || !Array.isArray(raw['files'])) {
    throw new Failure('CORRUPT', `${where}: expected a known type and a list of files`);
  }
  const files = raw['files'].map((file: unknown) => parseEntry(file, where));
  checkPaths(files);
  const actual = artifactDigest(files, sha256Text);
  if (actual !== digest) throw new Failure('CORRUPT', `${where}: its files have the digest ${actual}`);
  return { schema: 'fretsaw/manifest/v1', type, files };
}

function parseEntry(value: unknown, where: string): FileEntry {
  const { path, size, sha256 }: StoredObject = exactKeys(value, ['path', 'sha256', 'size'], where);
  if (typeof path !== 'string' || typeof size !== 'number' || typeof sha256 !== 'string') {
    throw new Failure('CORRUPT', `${where}: expected files of path, size and sha256`);
  }
  if (!Number.isSafeInteger(size) || size < 0 || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw new Failure('CORRUPT', `${where}: ${JSON.stringify(path)} has size ${size} and sha256 ${sha256}`);
  }
  return { path, size, sha256 };
}

/** Each path is safe, there once, and not a folder of another. */
function checkPaths(files: readonly FileEntry[]): void {
  const paths = new Set(files.map(({ path }) => checkFilePath(path)));
  if (paths.size !== files.length) throw new Failure('UNSAFE_PATH', 'a path occurs twice in one artifact');
  for (const path of paths) {
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) {
      if (paths.has(path.slice(0, at))) {
        throw new Failure('UNSAFE_PATH', `${JSON.stringify(path.slice(0, at))} is a file and a folder`);
      }
    }
  }
}
