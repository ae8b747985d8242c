import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fchmodSync,
  futimesSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { FileEntry } from '../core/artifact.ts';
import { hexOf, type Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { corruptBlob, hashStream, readBlob } from './blobs.ts';
import { copyFileBytes, packsOfFiles } from './stored-files.ts';
import { diskFailure, errnoOf } from './disk/disk-failure.ts';
import { createFlusher } from './disk/flusher.ts';
import { makeFolder } from './disk/make-folder.ts';
import { inParallel } from './in-parallel.ts';
import type { ObjectBackend } from './object-backend.ts';
import { objectNames } from './object-names.ts';
import type { Manifest } from './store.ts';

/** Folders with an artifact's files, for programs that want paths. */
export interface Views {
  view(digest: Digest, manifest: () => Promise<Manifest>): Promise<string>;
  export(manifest: Manifest, folder: string): Promise<void>;
}

/**
 * Every file of a view has this modification time (2000-01-01, in seconds): a job that wrote to
 * one, as root may although it is read-only, is noticed before the view is handed out again.
 */
const viewTime = 946_684_800;
const filesAtOnce = 8;
/** Files up to this size are read at once: a stream's buffer costs more than they do. */
const wholeBytes = 1 << 20;

/**
 * Views are reflinks where the file system has them and copies elsewhere, never hard links: a job
 * that runs as root could change the store's only bytes through one.
 */
export function createViews(backend: ObjectBackend, folder: string): Views {
  const underway = new Map<Digest, Promise<string>>();
  let canClone = true;

  async function fill(target: string, manifest: Manifest, kind: 'view' | 'export'): Promise<void> {
    const folders = new Set(manifest.files.map(({ path }) => dirname(join(target, path))));
    for (const one of folders) makeFolder(one);
    await backend.prefetch(await packsOfFiles(backend, manifest.files));
    await inParallel(manifest.files, filesAtOnce, async (file) => {
      const path = join(target, file.path);
      if (!(await clone(file, path))) await copy(file, path);
      seal(path, kind);
    });
    await createFlusher(target)(manifest.files.map(({ path }) => join(target, path)));
  }

  async function clone(file: FileEntry, path: string): Promise<boolean> {
    const source = backend.localPath(objectNames.blob(file.sha256));
    if (!canClone || source === undefined) return false;
    try {
      copyFileSync(source, path, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
    } catch (error) {
      rmSync(path, { force: true });
      if (errnoOf(error) === 'ENOENT') return false; // `copy` says which bytes are gone
      canClone = false;
      return false;
    }
    if ((await hashStream(backend.stream(objectNames.blob(file.sha256)))) !== file.sha256) {
      throw await corruptBlob(backend, file);
    }
    return true;
  }

  async function copy(file: FileEntry, path: string): Promise<void> {
    const descriptor = openSync(path, 'wx', 0o644);
    try {
      if (file.size <= wholeBytes) writeAll(descriptor, await readBlob(backend, file));
      else
        await copyFileBytes(backend, file, async (chunk) => {
          for (let done = 0; done < chunk.length;) done += writeSync(descriptor, chunk, done);
        });
    } finally {
      closeSync(descriptor);
    }
  }

  /** Builds beside `target`, then renames, so that `target` is whole or absent. */
  async function build(target: string, manifest: Manifest, kind: 'view' | 'export'): Promise<void> {
    const partial = join(
      dirname(target),
      `.${basename(target)}.${process.pid}-${randomBytes(6).toString('hex')}`,
    );
    try {
      makeFolder(partial);
      await fill(partial, manifest, kind);
      renameSync(partial, target);
    } catch (error) {
      rmSync(partial, { recursive: true, force: true });
      if (kind === 'view' && isTaken(error) && isIntact(target, manifest)) return;
      throw diskFailure(error, `writing ${target}`);
    }
  }

  async function make(digest: Digest, manifest: Manifest): Promise<string> {
    const target = join(folder, hexOf(digest));
    if (isIntact(target, manifest)) return target;
    if (existsSync(target)) {
      const aside = join(folder, `.${hexOf(digest)}.altered-${randomBytes(6).toString('hex')}`);
      renameSync(target, aside);
    }
    await build(target, manifest, 'view');
    return target;
  }

  return {
    view(digest, manifest) {
      const joined = underway.get(digest);
      if (joined !== undefined) return joined;
      const made = manifest()
        .then((found) => make(digest, found))
        .finally(() => underway.delete(digest));
      underway.set(digest, made);
      return made;
    },
    async export(manifest, target) {
      if (existsSync(target))
        throw new Failure('BAD_INPUT', `${target}: exists already; expected a new folder`);
      await build(target, manifest, 'export');
    },
  };
}

function writeAll(descriptor: number, chunk: Uint8Array): void {
  for (let done = 0; done < chunk.length;) done += writeSync(descriptor, chunk, done);
}

function seal(path: string, kind: 'view' | 'export'): void {
  const descriptor = openSync(path, 'r');
  try {
    fchmodSync(descriptor, kind === 'view' ? 0o444 : 0o644);
    if (kind === 'view') futimesSync(descriptor, viewTime, viewTime);
  } finally {
    closeSync(descriptor);
  }
}

/** All files there with the right size and untouched since, and nothing else. */
function isIntact(target: string, manifest: Manifest): boolean {
  const sizes = new Map(manifest.files.map(({ path, size }) => [path, size]));
  const walk = (below: string): boolean => {
    for (const entry of readdirSync(join(target, below), { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      if (entry.isDirectory() ? !walk(path) : !isUntouched(path)) return false;
    }
    return true;
  };
  const isUntouched = (path: string): boolean => {
    const found = lstatSync(join(target, path));
    const size = sizes.get(path);
    return sizes.delete(path) && found.isFile() && found.size === size && found.mtimeMs === viewTime * 1000;
  };
  try {
    return walk('') && sizes.size === 0;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw diskFailure(error, target);
  }
}

function isTaken(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOTEMPTY' || errno === 'EEXIST';
}
