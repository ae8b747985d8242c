import type { Digest } from '../../core/digest.ts';
import { Failure } from '../../core/errors.ts';
import { wholeUpToBytes } from '../cut/cut-file.ts';
import { generationsOf, readText } from '../generations.ts';
import { parseManifest } from '../manifest.ts';
import type { ObjectBackend } from '../object-backend.ts';
import { objectNames } from '../object-names.ts';
import { parseLayoutPacks } from '../pieces/layout.ts';

/** What of an artifact is in the store, by name; and what its manifest says it should hold. */
export interface Reach {
  names: Set<string>;
  logicalBytes: number;
}

/**
 * Every object that these artifacts need: manifests, blobs, layouts (all generations) and packs. An artifact
 * whose manifest is gone has none. CORRUPT when a manifest or layout cannot be read: then nobody knows what
 * it needs, and nothing may go.
 */
export async function reachableFrom(backend: ObjectBackend, artifacts: Iterable<Digest>): Promise<Reach> {
  const reach: Reach = { names: new Set(), logicalBytes: 0 };
  const files = new Map<string, number>();
  for (const digest of artifacts) {
    const name = objectNames.manifest(digest);
    const text = await readText(backend, name);
    if (text === undefined) continue;
    reach.names.add(name);
    for (const { sha256, size } of parseManifest(text, digest).files) {
      reach.logicalBytes += size;
      files.set(sha256, size);
    }
  }
  for (const [sha256, size] of files) {
    reach.names.add(objectNames.blob(sha256));
    if (size > wholeUpToBytes) await addLayouts(backend, sha256, reach.names);
  }
  return reach;
}

async function addLayouts(backend: ObjectBackend, sha256: string, names: Set<string>): Promise<void> {
  const folder = objectNames.layout(sha256);
  for (const generation of await generationsOf(backend, folder)) {
    const name = `${folder}/${generation}`;
    const text = await readText(backend, name);
    if (text === undefined) throw new Failure('CORRUPT', `${name}: listed, and not there`);
    names.add(name);
    for (const pack of parseLayoutPacks(text, sha256).packs) names.add(objectNames.pack(pack.sha256));
  }
}
