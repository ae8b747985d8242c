import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, readdirSync, readFileSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Draft, NewObject, ObjectBackend, ObjectSize } from '../object-backend.ts';
import { diskFailure, errnoOf } from './disk-failure.ts';
import { createFlusher } from './flusher.ts';
import { makeFolder } from './make-folder.ts';
import { createDiskDraft, isDiskDraft, type DiskDraft, type OpenDrafts } from './disk-draft.ts';
import { readRange, streamFile } from './read-file.ts';
import { unfinishedDrafts } from './unfinished-drafts.ts';

/** Of the file handles that a process has (often 1024), other work needs some. */
const openDraftsLimit = 128;

/**
 * Objects as files below `root`. A write goes to `tmp/` on the same file system, is flushed, gets its
 * name by link() (which fails when the name is taken, atomically), and then the folder is flushed:
 * so a name never stands for bytes that a power loss could still take. Small look-ups are
 * synchronous on purpose: through the thread pool they cost five times as much.
 */
export function createDiskBackend(root: string): ObjectBackend {
  const madeFolders = new Set<string>();
  const openDrafts: OpenDrafts = { limit: openDraftsLimit, open: new Set() };
  const flush = createFlusher(root);
  const pathOf = (name: string): string => join(root, name);

  /** Makes the folders down to `folder`; returns those whose listing must be flushed. */
  function folderFor(folder: string): string[] {
    if (madeFolders.has(folder)) return [folder];
    const first = makeFolder(folder);
    madeFolders.add(folder);
    if (first === undefined) return [folder];
    const changed = [folder];
    for (let at = folder; at !== first; at = dirname(at)) changed.push(dirname(at));
    return [...changed, dirname(first)];
  }

  function draft(): DiskDraft {
    const folder = join(root, 'tmp');
    folderFor(folder);
    return createDiskDraft(
      join(folder, `${process.pid}-${randomBytes(9).toString('base64url')}`),
      openDrafts,
    );
  }

  async function stage(content: Uint8Array | Draft): Promise<DiskDraft> {
    if (isDiskDraft(content)) return content;
    if (!(content instanceof Uint8Array)) throw new Error('bug: a draft of another backend');
    const staged = draft();
    try {
      await staged.write(content);
      return staged;
    } catch (error) {
      await staged.discard();
      throw error;
    }
  }

  function link(from: DiskDraft, name: string): { created: boolean; changed: string[] } {
    const target = pathOf(name);
    const changed = folderFor(dirname(target));
    try {
      linkSync(from.path, target);
      return { created: true, changed };
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return { created: false, changed: [dirname(target)] };
      if (errnoOf(error) !== 'ENOENT' || !madeFolders.delete(dirname(target)) || !existsSync(from.path))
        throw error;
      return link(from, name); // somebody removed the folder that we had made
    }
  }

  async function publish(objects: readonly NewObject[]): Promise<boolean[]> {
    const staged: DiskDraft[] = [];
    try {
      for (const { content } of objects) {
        const one = await stage(content);
        staged.push(one);
        one.close();
      }
      await flush(staged.map(({ path }) => path));
      const linked = staged.map((from, index) => link(from, objects[index]?.name ?? ''));
      await flush([...new Set(linked.flatMap(({ changed }) => changed))]);
      return linked.map(({ created }) => created);
    } catch (error) {
      throw diskFailure(error, `writing ${objects[0]?.name ?? 'nothing'} to ${root}`);
    } finally {
      const drafts = objects.map(({ content }) => content).filter(isDiskDraft);
      for (const one of [...staged, ...drafts]) await one.discard();
    }
  }

  function head(name: string): ObjectSize | undefined {
    const found = attempt(() => statSync(pathOf(name), { throwIfNoEntry: false }), name);
    return found?.isFile() === true ? { sizeBytes: found.size } : undefined;
  }

  return {
    location: pathToFileURL(root).href,
    localPath: pathOf,
    draft: async () => draft(),
    async createMany(objects, last) {
      await publish(last === undefined ? objects : [...objects, last]);
    },
    create: async (name, bytes) => (await publish([{ name, content: bytes }]))[0] === true,
    head: async (name) => head(name),
    headMany: async (names) => names.map(head),
    get: async (name, range) =>
      attempt(
        () => (range === undefined ? readFileSync(pathOf(name)) : readRange(pathOf(name), range)),
        name,
      ),
    stream: (name, range) => streamFile(pathOf(name), range),
    async copyInto(name, into) {
      for await (const chunk of streamFile(pathOf(name))) await into.write(chunk);
    },
    children: async (folder) => attempt(() => readdirSync(pathOf(folder)), folder) ?? [],
    list: async (folder) => attempt(() => listFiles(root, folder), folder) ?? [],
    async *listInfo(folder) {
      for (const name of attempt(() => listFiles(root, folder), folder) ?? []) {
        const found = attempt(() => statSync(pathOf(name), { throwIfNoEntry: false }), name);
        if (found !== undefined) yield { name, sizeBytes: found.size, modifiedAtMs: found.mtimeMs };
      }
    },
    async remove(names) {
      for (const name of names)
        attempt(() => {
          unlinkSync(pathOf(name));
        }, name);
    },
    unfinished: async () => unfinishedDrafts(join(root, 'tmp')),
    prefetch: async () => undefined,
    async quarantine(name) {
      const target = join(root, 'quarantine', `${name.replaceAll('/', '_')}.${Date.now()}-${process.pid}`);
      folderFor(dirname(target));
      attempt(() => {
        renameSync(pathOf(name), target);
      }, name);
    },
  };
}

/** Absent is undefined; all else that the system says is a Failure. */
function attempt<T>(look: () => T, name: string): T | undefined {
  try {
    return look();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    throw diskFailure(error, name);
  }
}

function listFiles(root: string, folder: string): string[] {
  const names: string[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) names.push(...listFiles(root, name));
    else if (entry.isFile()) names.push(name);
  }
  return names.sort();
}
