import type { Digest } from './digest.ts';
import { canonicalJson } from './canonical-json.ts';
import { digestFromHex } from './digest.ts';
import type { Sha256 } from './digest.ts';

/** What kind of bytes an artifact holds; the compiler checks these between stages. */
export const artifactTypes = [
  'checkpoint',
  'dataset',
  'listing',
  'ranking',
  'scores',
  'architecture',
  'proof',
  'kept',
  'metrics',
  'onnx',
  'results',
  'timings',
  'verdict',
  'report',
  'folder',
] as const;

export type ArtifactType = (typeof artifactTypes)[number];

/** One file of an artifact: path with forward slashes relative to its root, size in bytes. */
export interface FileEntry {
  path: string;
  size: number;
  sha256: string;
}

/** The name of an artifact: its content digest, what it is, and how big all files are in bytes. */
export interface ArtifactRef {
  digest: Digest;
  type: ArtifactType;
  sizeBytes: number;
}

/**
 * The digest of an artifact: sha256 of the canonical JSON of its files sorted by path. It says
 * nothing about how bytes are stored, so that cutting and packing can change without a new name.
 */
export function artifactDigest(files: readonly FileEntry[], sha256: Sha256): Digest {
  const sorted = [...files]
    .sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
    .map(({ path, size, sha256: hash }) => ({ path, size, sha256: hash }));
  return digestFromHex(sha256(canonicalJson(sorted)));
}
