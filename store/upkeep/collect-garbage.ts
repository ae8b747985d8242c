import type { Digest } from '../../core/digest.ts';
import type { ObjectBackend } from '../object-backend.ts';
import { digestsOf } from '../object-names.ts';
import type { GarbageOptions, GarbageReport } from '../store.ts';
import type { Collections } from './collections.ts';
import { reachableFrom } from './reachable.ts';
import { listTombstoned } from './tombstones.ts';

/** Only these hold bytes; records, refs, leases and documents are history and stay. Manifests go first. */
const folders = ['artifacts', 'layouts', 'packs', 'blobs', 'uses'];
const removedAtOnce = 500;
/** Nobody writes one object for this long, whatever the grace period. */
const uploadMs = 24 * 3_600_000;

/**
 * Removes what no root reaches and what is older than the grace period. An artifact that was put within it
 * is a root, too, because its record may not be there yet.
 */
export async function collectGarbage(
  backend: ObjectBackend,
  collections: Collections,
  options: GarbageOptions,
): Promise<GarbageReport> {
  if (options.dryRun) return sweep(backend, { ...options, youngMs: Date.now() - options.graceMs });
  const collection = await collections.begin();
  try {
    return await sweep(backend, { ...options, youngMs: collection.begunMs - options.graceMs });
  } finally {
    await collection.end();
  }
}

async function sweep(
  backend: ObjectBackend,
  options: GarbageOptions & { youngMs: number },
): Promise<GarbageReport> {
  const tombstoned = await listTombstoned(backend);
  const young = [
    ...(await youngManifests(backend, options.youngMs)),
    ...(await youngUses(backend, options.youngMs)),
  ];
  const roots = [...new Set([...(await options.roots()), ...young])].filter(
    (digest) => !tombstoned.has(digest),
  );
  const { names } = await reachableFrom(backend, roots);
  const going: GarbageReport['objects'] = [];
  let keptBytes = 0;
  for (const folder of folders) {
    for await (const { name, sizeBytes, modifiedAtMs } of backend.listInfo(folder)) {
      if (names.has(name) || modifiedAtMs > options.youngMs) keptBytes += sizeBytes;
      else going.push({ name, sizeBytes });
    }
  }
  if (!options.dryRun) {
    await removeInOrder(
      backend,
      going.map(({ name }) => name),
    );
    await abortUploads(backend, options.youngMs + options.graceMs - Math.max(options.graceMs, uploadMs));
  }
  return { objects: going, bytes: going.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0), keptBytes };
}

/** A killed sweep leaves what can be collected again, never an artifact that claims to be whole. */
async function removeInOrder(backend: ObjectBackend, names: readonly string[]): Promise<void> {
  for (let at = 0; at < names.length; at += removedAtOnce)
    await backend.remove(names.slice(at, at + removedAtOnce));
}

async function abortUploads(backend: ObjectBackend, youngMs: number): Promise<void> {
  for (const upload of await backend.unfinished()) if (upload.startedAtMs < youngMs) await upload.abort();
}

async function youngManifests(backend: ObjectBackend, youngMs: number): Promise<Digest[]> {
  const names: string[] = [];
  for await (const { name, modifiedAtMs } of backend.listInfo('artifacts'))
    if (modifiedAtMs > youngMs) names.push(name.split('/').at(-1) ?? '');
  return digestsOf(names);
}

/** Artifacts that were put again, when their manifest was there already. */
async function youngUses(backend: ObjectBackend, youngMs: number): Promise<Digest[]> {
  const names: string[] = [];
  for await (const { name, modifiedAtMs } of backend.listInfo('uses'))
    if (modifiedAtMs > youngMs) names.push(name.split('/')[1] ?? '');
  return digestsOf(names);
}
