import { Failure } from '../core/errors.ts';
import { hexOf, parseDigest, type Digest } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';

/** Where everything is, in every backend: docs/store-format.md is the same list in prose. */
export const objectNames = {
  blob: (sha256: string) => `blobs/sha256/${sha256.slice(0, 2)}/${sha256}`,
  pack: (sha256: string) => `packs/${sha256.slice(0, 2)}/${sha256}`,
  /** Generations: a layout whose packs were lost is superseded by the next. */
  layout: (sha256: string) => `layouts/${sha256.slice(0, 2)}/${sha256}`,
  manifest: (digest: Digest) => `artifacts/${hexOf(digest).slice(0, 2)}/${hexOf(digest)}`,
  /** Put again then (Unix time, milliseconds), when its manifest was there already. */
  use: (digest: Digest, atMs: number) => `uses/${hexOf(digest)}/${atMs}`,
  record: (domain: string, key: StageKey) => `records/${domain}/${hexOf(key)}`,
  ref: (name: string) => `refs/${name}`,
  lease: (key: StageKey) => `leases/${hexOf(key)}`,
  snapshot: (key: StageKey) => `snapshots/${hexOf(key)}`,
};

/** First segments that documents may not use: they have a meaning of their own, now or later. */
const reserved: ReadonlySet<string> = new Set([
  'blobs',
  'artifacts',
  'records',
  'refs',
  'leases',
  'snapshots',
  'layouts',
  'packs',
  'quarantine',
  'gc',
  'uses',
  'tombstones',
  'tmp',
]);

// Control characters, backslash and the replacement character (a name that was not UTF-8).
// eslint-disable-next-line no-control-regex -- control characters are what it is about
const unsafeCharacter = /[\u0000-\u001f\u007f\\\ufffd]/;

/** A path inside an artifact: relative, forward slashes, no `.`, `..` or empty segment. UNSAFE_PATH. */
export function checkFilePath(path: string): string {
  const segments = path.split('/');
  const isSafe = segments.every((segment) => segment !== '' && segment !== '.' && segment !== '..');
  if (!isSafe || unsafeCharacter.test(path) || !path.isWellFormed()) {
    throw new Failure(
      'UNSAFE_PATH',
      `expected a relative path inside the artifact, found ${JSON.stringify(path)}`,
    );
  }
  return path;
}

/** A document's path: as above, no hidden segments, none longer than a file name may be. */
export function checkDocumentPath(path: string): string {
  checkSegments(path);
  if (reserved.has(path.split('/')[0] ?? '')) {
    throw new Failure('UNSAFE_PATH', `${JSON.stringify(path)}: this part of the store is not for documents`);
  }
  return path;
}

/** A ref's name: as above, and no segment of digits only, which would be taken for a generation. */
export function checkRefName(name: string): string {
  checkSegments(name);
  if (name.split('/').some((segment) => /^\d+$/.test(segment))) {
    throw new Failure('UNSAFE_PATH', `ref ${JSON.stringify(name)}: a part of digits only is a generation`);
  }
  return name;
}

export function checkDomain(domain: string): string {
  if (!/^[a-z0-9][a-z0-9.-]{0,62}$/.test(domain)) {
    throw new Failure(
      'UNSAFE_PATH',
      `trust domain ${JSON.stringify(domain)}: expected lower-case letters, digits, - and .`,
    );
  }
  return domain;
}

/** A number of a generation, attempt or step as a name; undefined for a stray file. */
export function parseNumber(segment: string): number | undefined {
  return /^(0|[1-9]\d{0,14})$/.test(segment) ? Number(segment) : undefined;
}

export function digestsOf(names: readonly string[]): Digest[] {
  return names.filter((hex) => /^[0-9a-f]{64}$/.test(hex)).map((hex) => parseDigest(`sha256:${hex}`));
}

function checkSegments(path: string): void {
  checkFilePath(path);
  for (const segment of path.split('/')) {
    if (segment.startsWith('.') || Buffer.byteLength(segment) > 200) {
      throw new Failure(
        'UNSAFE_PATH',
        `${JSON.stringify(path)}: a part starts with a dot or is over 200 bytes`,
      );
    }
  }
}
