import { readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { isFailure } from '../../core/errors.ts';
import { createDiskBackend } from '../disk/disk-backend.ts';
import type { Draft, NewObject, ObjectBackend } from '../object-backend.ts';

/** Copies on this host of what another place keeps. Losing any of it costs a download. */
export interface Cache {
  readonly disk: ObjectBackend;
  /** Takes bytes in, if there is room for them; drafts are used up. */
  add(objects: readonly NewObject[]): Promise<void>;
  /** Where a copy is, now used; undefined when there is none. */
  use(name: string): string | undefined;
}

/** A use is noted when the last note is older: a note is a write. */
const noteAgainMs = 60_000;
/** After making room, so much of the limit is used, so that it is not made for each object. */
const roomyShare = 0.9;

/** Below `root`, of at most about `limitBytes`: what was not used for the longest time goes first. */
export function createCache(root: string, limitBytes: number): Cache {
  const disk = createDiskBackend(root);
  let usedBytes: number | undefined;

  function makeRoom(comingBytes: number): void {
    usedBytes ??= filesBelow(root).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    usedBytes += comingBytes;
    if (usedBytes <= limitBytes) return;
    // Other processes add and remove too: what is there is looked at, not remembered.
    const files = filesBelow(root).sort((a, b) => a.usedAtMs - b.usedAtMs);
    let total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) + comingBytes;
    for (const { path, sizeBytes } of files) {
      if (total <= limitBytes * roomyShare) break;
      rmSync(path, { force: true });
      total -= sizeBytes;
    }
    usedBytes = total;
  }

  return {
    disk,
    async add(objects) {
      const fitting = objects.filter((object) => sizeOf(object) <= limitBytes * roomyShare);
      for (const { content } of objects.filter((object) => !fitting.includes(object)))
        if (isDraft(content)) await content.discard();
      makeRoom(fitting.reduce((sum, object) => sum + sizeOf(object), 0));
      try {
        await disk.createMany(fitting);
      } catch (error) {
        if (!isFailure(error, 'DISK_FULL')) throw error;
      }
    },
    use(name) {
      const path = disk.localPath(name);
      const found = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
      if (path === undefined || found?.isFile() !== true) return undefined;
      try {
        if (Date.now() - found.atimeMs > noteAgainMs) utimesSync(path, new Date(), found.mtime);
      } catch {
        // somebody else's file, or gone in this moment: the read says so
      }
      return path;
    },
  };
}

interface CachedFile {
  path: string;
  sizeBytes: number;
  usedAtMs: number;
}

function filesBelow(folder: string): CachedFile[] {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // not made yet, or removed in this moment
  }
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'tmp' ? [] : filesBelow(path);
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined ? [] : [{ path, sizeBytes: found.size, usedAtMs: found.atimeMs }];
  });
}

function isDraft(content: Uint8Array | Draft): content is Draft {
  return !(content instanceof Uint8Array);
}

function sizeOf({ content }: NewObject): number {
  return isDraft(content) ? content.sizeBytes : content.length;
}
