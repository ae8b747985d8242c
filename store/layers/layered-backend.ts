import { isFailure } from '../../core/errors.ts';
import { inParallel } from '../in-parallel.ts';
import { isDiskDraft, lendDraft } from '../disk/disk-draft.ts';
import type { ByteRange, NewObject, ObjectBackend } from '../object-backend.ts';
import type { Cache } from './cache.ts';
import { isRight } from './is-right.ts';

const fetchedAtOnce = 8;

/**
 * Another place with copies of its objects on this host. The other place alone says what is there and
 * who was first; because nothing is ever overwritten, a copy is as good as the object while it exists.
 */
export function createLayeredBackend(remote: ObjectBackend, cache: Cache): ObjectBackend {
  const underway = new Map<string, Promise<void>>();

  /** Copies a whole object here, once for all who want it now. */
  function fetchWhole(name: string): Promise<void> {
    const joined = underway.get(name);
    if (joined !== undefined) return joined;
    const fetched = copyHere(name).finally(() => underway.delete(name));
    underway.set(name, fetched);
    return fetched;
  }

  async function copyHere(name: string): Promise<void> {
    const draft = await cache.disk.draft();
    try {
      await remote.copyInto(name, draft);
    } catch (error) {
      await draft.discard();
      throw error;
    }
    await cache.add([{ name, content: draft }]);
  }

  async function* stream(name: string): AsyncIterable<Uint8Array> {
    if (cache.use(name) === undefined) {
      await fetchWhole(name).catch((error: unknown) => {
        if (!isFailure(error, 'DISK_FULL')) throw error;
      });
    }
    yield* streamAsIs(name);
  }

  async function* streamAsIs(name: string, range?: ByteRange): AsyncIterable<Uint8Array> {
    let isBegun = false;
    try {
      if (cache.use(name) !== undefined)
        for await (const chunk of cache.disk.stream(name, range)) {
          isBegun = true;
          yield chunk;
        }
    } catch (error) {
      if (isBegun || !isFailure(error, 'NOT_FOUND')) throw error; // another process has made room of it
    }
    if (!isBegun) yield* remote.stream(name, range);
  }

  return {
    location: remote.location,
    localPath: (name) => cache.use(name),
    async copyInto(name, draft) {
      for await (const chunk of stream(name)) await draft.write(chunk);
    },
    head: (name) => remote.head(name),
    headMany: (names) => remote.headMany(names),
    draft: () => cache.disk.draft(),
    create: (name, bytes) => remote.create(name, bytes),
    async createMany(objects, last) {
      try {
        await remote.createMany(objects.map(lent));
        await cache.add(objects.filter(({ name }) => isContentNamed(name)));
      } finally {
        for (const { content } of objects) if (isDiskDraft(content)) await content.discard();
      }
      if (last !== undefined) await remote.createMany([last]);
    },
    async get(name, range) {
      if (cache.use(name) !== undefined) {
        const bytes = await cache.disk.get(name, range);
        if (bytes !== undefined) return bytes;
      }
      const bytes = await remote.get(name, range);
      if (bytes !== undefined && range === undefined) await cache.add([{ name, content: bytes }]);
      return bytes;
    },
    stream: (name, range) => (range === undefined ? stream(name) : streamAsIs(name, range)),
    async prefetch(names) {
      await inParallel([...new Set(names)], fetchedAtOnce, async (name) => {
        if (cache.use(name) !== undefined) return;
        await fetchWhole(name).catch((error: unknown) => {
          if (!isFailure(error, 'NOT_FOUND') && !isFailure(error, 'DISK_FULL')) throw error;
        });
      });
    },
    list: (folder) => remote.list(folder),
    listInfo: (folder) => remote.listInfo(folder),
    children: (folder) => remote.children(folder),
    unfinished: () => remote.unfinished(),
    async remove(names) {
      await remote.remove(names);
      await cache.disk.remove(names);
    },
    /** A wrong copy is dropped; the object itself only goes when it is wrong too. */
    async quarantine(name) {
      await cache.disk.remove([name]);
      const bytes = isContentNamed(name) ? await remote.get(name) : undefined;
      if (bytes !== undefined && isRight(name, bytes) === true) return;
      await remote.quarantine(name);
    },
  };
}

/** Under another name somebody else's bytes may stand in the other place. */
function isContentNamed(name: string): boolean {
  return /^(blobs|packs)\//.test(name);
}

/** The other place gets the draft's bytes, and leaves the draft to us. */
function lent(object: NewObject): NewObject {
  return isDiskDraft(object.content) ? { ...object, content: lendDraft(object.content) } : object;
}
