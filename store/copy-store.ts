import type { Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';
import { inParallel } from './in-parallel.ts';
import type { Store } from './store.ts';

export interface CopyChoice {
  /** Absent: every one. */
  artifacts?: readonly Digest[];
  keys?: readonly StageKey[];
  /** Folders of documents: `runs/<id>/`, `keys/`. */
  documents: readonly string[];
}

export interface Copied {
  artifacts: { copied: number; there: number; sizeBytes: number };
  records: { copied: number; there: number };
  documents: { copied: number; there: number };
  /** Records whose generation is taken there by another: that one holds, and ours was not copied. */
  conflicts: { key: StageKey; generation: number }[];
}

const documentsAtOnce = 16;

/**
 * Copies what is not there yet: bytes first, then documents, records last, so that nothing in the
 * other store names what it does not have. Broken off, it is simply done again.
 */
export async function copyStore(from: Store, to: Store, choice: CopyChoice): Promise<Copied> {
  const copied: Copied = {
    artifacts: { copied: 0, there: 0, sizeBytes: 0 },
    records: { copied: 0, there: 0 },
    documents: { copied: 0, there: 0 },
    conflicts: [],
  };
  await copyArtifacts(from, to, { digests: choice.artifacts ?? (await from.artifacts.list()), copied });
  for (const folder of choice.documents) await copyDocuments(from, to, { folder, copied });
  const records = await from.records.asOfNow();
  for (const key of choice.keys ?? (await records.keys())) {
    for (const { generation, envelope } of await records.history(key)) {
      await copyRecord(to, { key, generation, envelope }, copied);
    }
  }
  return copied;
}

async function copyArtifacts(
  from: Store,
  to: Store,
  { digests, copied }: { digests: readonly Digest[]; copied: Copied },
): Promise<void> {
  const missing = await to.artifacts.missingMany(digests);
  for (const digest of digests) {
    if (missing.get(digest)?.length === 0) {
      copied.artifacts.there++;
      continue;
    }
    const manifest = await from.artifacts.manifest(digest);
    if (manifest === undefined)
      throw new Failure('NOT_FOUND', `${digest}: ${from.location} has no such artifact`);
    const folder = await from.artifacts.view(digest);
    const { sizeBytes } = await to.artifacts.putFolder(folder, {
      type: manifest.type,
      expected: manifest.files,
    });
    copied.artifacts.copied++;
    copied.artifacts.sizeBytes += sizeBytes;
  }
}

async function copyDocuments(
  from: Store,
  to: Store,
  { folder, copied }: { folder: string; copied: Copied },
): Promise<void> {
  const there = new Set(await to.documents.list(folder));
  const names = await from.documents.list(folder);
  copied.documents.there += names.filter((name) => there.has(name)).length;
  await inParallel(
    names.filter((name) => !there.has(name)),
    documentsAtOnce,
    async (name) => {
      const text = await from.documents.read(name);
      if (text !== undefined && (await to.documents.create(name, text))) copied.documents.copied++;
    },
  );
}

async function copyRecord(
  to: Store,
  { key, generation, envelope }: { key: StageKey; generation: number; envelope: string },
  copied: Copied,
): Promise<void> {
  const theirs = await to.records.history(key);
  const same = theirs.find((record) => record.generation === generation);
  if (same?.envelope === envelope) copied.records.there++;
  else if (theirs.some((record) => record.generation >= generation))
    copied.conflicts.push({ key, generation });
  else {
    const { created } = await to.records.create(key, generation, envelope);
    if (created) copied.records.copied++;
    else copied.conflicts.push({ key, generation });
  }
}
