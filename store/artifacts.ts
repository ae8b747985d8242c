import type { ArtifactRef, FileEntry } from '../core/artifact.ts';
import type { Digest } from '../core/digest.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { createBlobBatch, hasBlob, readBlob, type BlobBatch } from './blobs.ts';
import { filesBelow, type FoundFile } from './folder-files.ts';
import { makeManifest, parseManifest } from './manifest.ts';
import type { Views } from './views.ts';
import type { Draft, ObjectBackend } from './object-backend.ts';
import { checkFilePath, digestsOf, objectNames } from './object-names.ts';
import { readHashing, readWhole, wholeFileBytes } from './read-source.ts';
import { sha256Bytes } from './sha256.ts';
import type { Artifacts, Manifest, PutOptions } from './store.ts';

/** What `missing` says instead of a file's path when the list of files itself is gone. */
export const missingManifest = '(manifest)';

export function createArtifacts(backend: ObjectBackend, views: Views): Artifacts {
  async function manifest(digest: Digest): Promise<Manifest | undefined> {
    const name = objectNames.manifest(digest);
    const bytes = await backend.get(name);
    if (bytes === undefined) return undefined;
    try {
      return parseManifest(Buffer.from(bytes).toString('utf8'), digest);
    } catch (error) {
      if (isFailure(error, 'CORRUPT')) await backend.quarantine(name);
      throw error;
    }
  }

  async function known(digest: Digest): Promise<Manifest> {
    const found = await manifest(digest);
    if (found === undefined) throw new Failure('NOT_FOUND', `${digest}: the store has no such artifact`);
    return found;
  }

  return {
    manifest,
    async putFolder(folder, options) {
      const batch = createBlobBatch(backend);
      const promised = new Map(options.expected?.map((entry) => [entry.path, entry]));
      const files: FileEntry[] = [];
      for (const found of await filesBelow(folder)) {
        const entry = await ingest({ backend, batch }, found, promised.get(found.path));
        if (options.expected !== undefined) checkPromise(entry, promised);
        files.push(entry);
      }
      return finish({ backend, batch }, files, options);
    },
    async putFiles(contents, options) {
      const batch = createBlobBatch(backend);
      const files: FileEntry[] = [];
      for (const [path, bytes] of contents) {
        const entry = { path: checkFilePath(path), size: bytes.length, sha256: sha256Bytes(bytes) };
        if (options.expected !== undefined)
          checkPromise(entry, new Map(options.expected.map((e) => [e.path, e])));
        await batch.add(entry.sha256, bytes);
        files.push(entry);
      }
      return finish({ backend, batch }, files, options);
    },
    async missing(digest) {
      const found = await manifest(digest).catch((error: unknown) => {
        if (isFailure(error, 'CORRUPT')) return undefined;
        throw error;
      });
      if (found === undefined) return [missingManifest];
      const paths: string[] = [];
      for (const file of found.files) if (!(await hasBlob(backend, file))) paths.push(file.path);
      return paths;
    },
    async readFile(digest, path) {
      const file = (await known(digest)).files.find((entry) => entry.path === path);
      if (file === undefined) throw new Failure('NOT_FOUND', `${digest} has no file ${JSON.stringify(path)}`);
      return readBlob(backend, file);
    },
    view: async (digest) => views.view(digest, () => known(digest)),
    export: async (digest, folder) => views.export(await known(digest), folder),
    async list() {
      const shards = await backend.children('artifacts');
      const names: string[] = [];
      for (const shard of shards) names.push(...(await backend.children(`artifacts/${shard}`)));
      return digestsOf(names.sort());
    },
  };
}

interface Intake {
  backend: ObjectBackend;
  batch: BlobBatch;
}

async function ingest(intake: Intake, found: FoundFile, promised: FileEntry | undefined): Promise<FileEntry> {
  if (found.sizeBytes <= wholeFileBytes) {
    const bytes = readWhole(found);
    const entry = { path: found.path, size: bytes.length, sha256: sha256Bytes(bytes) };
    await intake.batch.add(entry.sha256, bytes);
    return entry;
  }
  // Bytes that the store has already are only hashed, to see that the folder is what it was said to be.
  if (promised !== undefined && (await hasBlob(intake.backend, promised))) {
    return { path: found.path, ...(await readHashing(found)) };
  }
  const draft: Draft = await intake.backend.draft();
  try {
    const { sha256, size } = await readHashing(found, (chunk) => draft.write(chunk));
    await intake.batch.add(sha256, draft);
    return { path: found.path, size, sha256 };
  } catch (error) {
    await draft.discard();
    throw error;
  }
}

async function finish(
  intake: Intake,
  files: readonly FileEntry[],
  options: PutOptions,
): Promise<ArtifactRef> {
  const there = new Set(files.map(({ path }) => path));
  const absent = options.expected?.find(({ path }) => !there.has(path));
  if (absent !== undefined) {
    throw new Failure('DIGEST_MISMATCH', `expected a file ${JSON.stringify(absent.path)}, found none`);
  }
  const { digest, text } = makeManifest(options.type, files);
  await intake.batch.finish({ name: objectNames.manifest(digest), content: Buffer.from(text, 'utf8') });
  return { digest, type: options.type, sizeBytes: files.reduce((sum, { size }) => sum + size, 0) };
}

function checkPromise(entry: FileEntry, promised: ReadonlyMap<string, FileEntry>): void {
  const expected = promised.get(entry.path);
  if (expected?.sha256 === entry.sha256 && expected.size === entry.size) return;
  const wanted = expected === undefined ? 'no such file' : `size ${expected.size}, sha256 ${expected.sha256}`;
  throw new Failure(
    'DIGEST_MISMATCH',
    `${JSON.stringify(entry.path)}: expected ${wanted}; found size ${entry.size}, sha256 ${entry.sha256}`,
  );
}
