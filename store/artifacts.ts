import type { FileEntry } from '../core/artifact.ts';
import type { Digest } from '../core/digest.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { createBlobBatch } from './blobs.ts';
import { filesBelow } from './folder-files.ts';
import { inParallel } from './in-parallel.ts';
import { parseManifest } from './manifest.ts';
import type { ObjectBackend } from './object-backend.ts';
import { checkFilePath, digestsOf, objectNames } from './object-names.ts';
import type { PieceIndex } from './pieces/piece-index.ts';
import { checkPromise, finish, putFiles } from './put-files.ts';
import { sha256Bytes } from './sha256.ts';
import type { Artifacts, Manifest } from './store.ts';
import { missingFiles, readFileBytes } from './stored-files.ts';
import type { Views } from './views.ts';

/** What `missing` says instead of a file's path when the list of files itself is gone. */
export const missingManifest = '(manifest)';

const manifestsAtOnce = 32;

export function createArtifacts(
  backend: ObjectBackend,
  { views, index }: { views: Views; index: PieceIndex },
): Artifacts {
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

  async function manifestIfGood(digest: Digest): Promise<Manifest | undefined> {
    return await manifest(digest).catch((error: unknown) => {
      if (isFailure(error, 'CORRUPT')) return undefined;
      throw error;
    });
  }

  async function known(digest: Digest): Promise<Manifest> {
    const found = await manifest(digest);
    if (found === undefined) throw new Failure('NOT_FOUND', `${digest}: the store has no such artifact`);
    return found;
  }

  return {
    manifest,
    async putFolder(folder, options) {
      return putFiles({ backend, index }, await filesBelow(folder), options);
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
      return finish(batch, files, options);
    },
    async missing(digest) {
      const found = await manifestIfGood(digest);
      if (found === undefined) return [missingManifest];
      return (await missingFiles(backend, found.files)).map(({ path }) => path);
    },
    async missingMany(digests) {
      const manifests = new Map<Digest, Manifest | undefined>();
      await inParallel([...new Set(digests)], manifestsAtOnce, async (digest) => {
        manifests.set(digest, await manifestIfGood(digest));
      });
      const files = new Map<string, FileEntry>();
      for (const found of manifests.values())
        for (const file of found?.files ?? []) files.set(bytesOf(file), file);
      const gone = new Set((await missingFiles(backend, [...files.values()])).map(bytesOf));
      const pathsGone = (found: Manifest): string[] =>
        found.files.filter((file) => gone.has(bytesOf(file))).map(({ path }) => path);
      return new Map(
        [...manifests].map(([digest, found]) => [
          digest,
          found === undefined ? [missingManifest] : pathsGone(found),
        ]),
      );
    },
    async readFile(digest, path) {
      const file = (await known(digest)).files.find((entry) => entry.path === path);
      if (file === undefined) throw new Failure('NOT_FOUND', `${digest} has no file ${JSON.stringify(path)}`);
      return readFileBytes(backend, file);
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

/** Equal bytes are one file, whatever artifacts call it. */
function bytesOf({ sha256, size }: FileEntry): string {
  return `${sha256}/${size}`;
}
