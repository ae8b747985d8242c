import { hexOf, type Digest } from '../../core/digest.ts';
import { Failure } from '../../core/errors.ts';
import { latestGeneration } from '../generations.ts';
import type { ObjectBackend } from '../object-backend.ts';
import { digestsOf } from '../object-names.ts';
import { parseStored } from '../stored-json.ts';
import type { Collections } from './collections.ts';
import { reachableFrom } from './reachable.ts';

/** Why an artifact's bytes may not be kept; undefined when they may. */
export async function tombstoneReason(backend: ObjectBackend, digest: Digest): Promise<string | undefined> {
  const found = await latestGeneration(backend, folderOf(digest));
  if (found === undefined) return undefined;
  const { reason } = parseStored(found.text, 'fretsaw/tombstone/v1', `tombstone of ${digest}`);
  return typeof reason === 'string' ? reason : '';
}

export async function listTombstoned(backend: ObjectBackend): Promise<ReadonlySet<Digest>> {
  return new Set(digestsOf(await backend.children('tombstones')));
}

/**
 * Says why an artifact goes, then removes the bytes that no other artifact in the store needs, at once and
 * whatever their age. Records and statements that name it stay. Returns the bytes that it freed.
 */
export async function buryArtifact(
  backend: ObjectBackend,
  collections: Collections,
  { digest, reason }: { digest: Digest; reason: string },
): Promise<{ removedBytes: number; sharedBytes: number }> {
  const tombstone = { schema: 'fretsaw/tombstone/v1', digest, reason, createdAt: new Date().toISOString() };
  await backend.create(`${folderOf(digest)}/1`, Buffer.from(`${JSON.stringify(tombstone)}\n`));
  const collection = await collections.begin();
  try {
    const own = await reachableFrom(backend, [digest]);
    const tombstoned = await listTombstoned(backend);
    const others = (await allArtifacts(backend)).filter((one) => !tombstoned.has(one));
    const needed = (await reachableFrom(backend, others)).names;
    const names = [...own.names];
    const sizes = await backend.headMany(names);
    const sum = (isWanted: boolean): number =>
      names.reduce(
        (total, name, n) => total + (needed.has(name) === isWanted ? (sizes[n]?.sizeBytes ?? 0) : 0),
        0,
      );
    await backend.remove(names.filter((name) => !needed.has(name)));
    return { removedBytes: sum(false), sharedBytes: sum(true) };
  } finally {
    await collection.end();
  }
}

/** Putting tombstoned bytes again is refused: somebody had a reason. */
export async function refuseTombstoned(backend: ObjectBackend, digest: Digest): Promise<void> {
  const reason = await tombstoneReason(backend, digest);
  if (reason !== undefined)
    throw new Failure('BAD_INPUT', `${digest} may not be kept, it was removed for good: ${reason}`);
}

export async function allArtifacts(backend: ObjectBackend): Promise<Digest[]> {
  const names = await backend.list('artifacts');
  return digestsOf(names.map((name) => name.split('/').at(-1) ?? ''));
}

function folderOf(digest: Digest): string {
  return `tombstones/${hexOf(digest)}`;
}
