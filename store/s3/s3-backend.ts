import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { createDiskDraft, isDiskDraft, type DiskDraft, type OpenDrafts } from '../disk/disk-draft.ts';
import { makeFolder } from '../disk/make-folder.ts';
import { inParallel } from '../in-parallel.ts';
import type { NewObject, ObjectBackend } from '../object-backend.ts';
import { fetchObject } from './fetch-object.ts';
import { headObject, headObjects } from './head-many.ts';
import { listPages, listUploads } from './list-objects.ts';
import { removeObjects } from './remove-objects.ts';
import { readObject, streamObject } from './read-objects.ts';
import type { S3Connection } from './s3-connection.ts';
import { nameOfS3 } from './s3-location.ts';
import { createServerCheck } from './server-check.ts';
import { uploadParts } from './upload-parts.ts';
import { putNew } from './write-objects.ts';

export interface S3BackendOptions {
  connection: S3Connection;
  /** Where bytes wait whose name is not known yet. */
  spoolFolder: string;
}

/** One PUT up to this size; parts above. */
const onePutBytes = 64 << 20;
const smallBytes = 1 << 20;
const smallAtOnce = 32;
const greatAtOnce = 4;
const openDraftsLimit = 64;

/** Objects below a prefix of a bucket. Whatever is created here has another's name for it: see putNew. */
export function createS3Backend({ connection, spoolFolder }: S3BackendOptions): ObjectBackend {
  const { bucket } = connection.place;
  const server = createServerCheck(connection);
  const openDrafts: OpenDrafts = { limit: openDraftsLimit, open: new Set() };

  async function publish({ name, content, sha256 }: NewObject): Promise<boolean> {
    if (content instanceof Uint8Array)
      return putNew(connection, { name, bytes: content, sha256: sha256 ?? hashIn(name) });
    if (!isDiskDraft(content)) throw new Error('bug: a draft of another backend');
    content.close();
    return publishDraft(content, name);
  }

  async function publishDraft({ path, sizeBytes }: DiskDraft, name: string): Promise<boolean> {
    if (sizeBytes <= onePutBytes)
      return putNew(connection, {
        name,
        bytes: await readFile(path),
        sha256: hashIn(name),
      });
    if ((await headObject(connection, name)) !== undefined) return false;
    await uploadParts({ connection, name, path, sizeBytes });
    return true;
  }

  async function publishAll(objects: readonly NewObject[]): Promise<void> {
    const put = async (object: NewObject): Promise<void> => {
      await publish(object);
    };
    const small = objects.filter((object) => sizeOf(object) <= smallBytes);
    const great = objects.filter((object) => sizeOf(object) > smallBytes);
    const ends = await Promise.allSettled([
      inParallel(small, smallAtOnce, put),
      inParallel(great, greatAtOnce, put),
    ]);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  return {
    location: nameOfS3(connection.place),
    localPath: () => undefined,
    prefetch: async () => undefined,
    async draft() {
      makeFolder(spoolFolder);
      return createDiskDraft(
        join(spoolFolder, `${process.pid}-${randomBytes(9).toString('base64url')}`),
        openDrafts,
      );
    },
    async create(name, bytes) {
      await server.check(name);
      return putNew(connection, { name, bytes });
    },
    async createMany(objects, last) {
      try {
        await publishAll(objects);
        if (last !== undefined) await publish(last);
      } finally {
        for (const { content } of objects) if (isDiskDraft(content)) await content.discard();
      }
    },
    head: (name) => headObject(connection, name),
    headMany: (names) => headObjects(connection, names),
    get: (name, range) => readObject(connection, name, range),
    stream: (name, range) => streamObject(connection, name, range),
    copyInto: (name, draft) => fetchObject(connection, name, draft),
    async list(folder) {
      const names: string[] = [];
      for await (const { objects } of listPages(connection, { prefix: `${folder}/` }))
        names.push(...objects.map(({ name }) => name));
      return names.sort();
    },
    async *listInfo(folder) {
      for await (const { objects } of listPages(connection, { prefix: `${folder}/` })) yield* objects;
    },
    async children(folder) {
      const prefix = `${folder}/`;
      const found: string[] = [];
      for await (const { objects, folders } of listPages(connection, { prefix, isShallow: true })) {
        found.push(...folders.map((name) => name.slice(prefix.length, -1)));
        found.push(...objects.map(({ name }) => name.slice(prefix.length)));
      }
      return found;
    },
    remove: (names) => removeObjects(connection, names),
    unfinished: () => listUploads(connection),
    async quarantine(name) {
      const to = connection.key(`quarantine/${name.replaceAll('/', '_')}.${Date.now()}-${process.pid}`);
      await connection.call(`putting ${name} into quarantine`, async ({ sdk, client }) => {
        const source = [bucket, ...connection.key(name).split('/')].map(encodeURIComponent).join('/');
        await client.send(new sdk.CopyObjectCommand({ Bucket: bucket, Key: to, CopySource: source }));
        await client.send(new sdk.DeleteObjectCommand({ Bucket: bucket, Key: connection.key(name) }));
      });
    },
  };
}

function sizeOf({ content }: NewObject): number {
  return content instanceof Uint8Array ? content.length : content.sizeBytes;
}

/** The name of a blob is the sha256 of its bytes. */
function hashIn(name: string): string | undefined {
  return /^blobs\/sha256\/[0-9a-f]{2}\/([0-9a-f]{64})$/.exec(name)?.[1];
}
