import type { ArtifactRef, FileEntry } from '../core/artifact.ts';
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
import { readTensor } from './read-tensor.ts';
import { sha256Bytes } from './sha256.ts';
import type { Artifacts, Manifest, PutOptions } from './store.ts';
import { missingFiles, readFileBytes } from './stored-files.ts';
import type { Collections } from './upkeep/collections.ts';
import { tombstoneReason } from './upkeep/tombstones.ts';
import type { Views } from './views.ts';

/** What `missing` says instead of a file's path when the list of files itself is gone. */
export const missingManifest = '(manifest)';

const manifestsAtOnce = 32;
/** A put that garbage collections keep undoing gives up. */
const maxTries = 5;

export function createArtifacts(
  backend: ObjectBackend,
  { views, index, collections }: { views: Views; index: PieceIndex; collections: Collections },
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

  async function whyNoManifest(digest: Digest): Promise<string> {
    const reason = await tombstoneReason(backend, digest);
    return reason === undefined ? missingManifest : `(tombstone: ${reason})`;
  }

  async function missing(digest: Digest): Promise<string[]> {
    const found = await manifestIfGood(digest);
    if (found === undefined) return [await whyNoManifest(digest)];
    return (await missingFiles(backend, found.files)).map(({ path }) => path);
  }

  /** Puts again what a garbage collection took from under it. */
  async function settled(put: () => Promise<ArtifactRef>): Promise<ArtifactRef> {
    for (let tries = 1; ; tries++) {
      const before = await collections.ended();
      const ref = await put();
      if (!(await collections.settle(before)) || (await missing(ref.digest)).length === 0) return ref;
      if (tries === maxTries)
        throw new Failure('STORE_UNAVAILABLE', `${ref.digest}: garbage collection takes it as it is put`);
    }
  }

  return {
    manifest,
    async putFolder(folder, options) {
      const found = await filesBelow(folder, options);
      return settled(() => putFiles({ backend, index }, found, options));
    },
    putFiles: (contents, options) => settled(() => putContents(backend, contents, options)),
    missing,
    async missingMany(digests) {
      const manifests = new Map<Digest, Manifest | undefined>();
      await inParallel([...new Set(digests)], manifestsAtOnce, async (digest) => {
        manifests.set(digest, await manifestIfGood(digest));
      });
      const files = new Map<string, FileEntry>();
      for (const found of manifests.values())
        for (const file of found?.files ?? []) files.set(bytesOf(file), file);
      const gone = new Set((await missingFiles(backend, [...files.values()])).map(bytesOf));
      const answers = new Map<Digest, string[]>();
      for (const [digest, found] of manifests) {
        const lacks = found?.files.filter((file) => gone.has(bytesOf(file))).map(({ path }) => path);
        answers.set(digest, lacks ?? [await whyNoManifest(digest)]);
      }
      return answers;
    },
    async readFile(digest, path) {
      const file = (await known(digest)).files.find((entry) => entry.path === path);
      if (file === undefined) throw new Failure('NOT_FOUND', `${digest} has no file ${JSON.stringify(path)}`);
      return readFileBytes(backend, file);
    },
    readTensor: async (digest, tensor) => readTensor(backend, await known(digest), tensor),
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

async function putContents(
  backend: ObjectBackend,
  contents: ReadonlyMap<string, Uint8Array>,
  options: PutOptions,
): Promise<ArtifactRef> {
  const batch = createBlobBatch(backend);
  const promised = new Map(options.expected?.map((entry) => [entry.path, entry]));
  const files: FileEntry[] = [];
  for (const [path, bytes] of contents) {
    const entry = { path: checkFilePath(path), size: bytes.length, sha256: sha256Bytes(bytes) };
    if (options.expected !== undefined) checkPromise(entry, promised);
    await batch.add(entry.sha256, bytes);
    files.push(entry);
  }
  return finish({ backend, batch }, files, options);
}
