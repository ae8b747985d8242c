import { realpath } from 'node:fs/promises';
import { lstatSync, readdirSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { Failure } from '../core/errors.ts';
import { diskFailure } from './disk/disk-failure.ts';
import { checkFilePath } from './object-names.ts';
import type { FolderOptions } from './store.ts';

/** A file found below a folder: its path in the artifact and where its bytes are (a link was followed). */
export interface FoundFile {
  path: string;
  source: string;
  sizeBytes: number;
}

/**
 * Every file below `folder`. A symbolic link to a file inside it (or inside `linksInto`) counts as that
 * file; one that leaves it, dangles or names a folder is UNSAFE_PATH, as are sockets, pipes and devices.
 * Empty folders are not part of an artifact.
 */
export async function filesBelow(
  folder: string,
  { linksInto, without = [] }: Pick<FolderOptions, 'linksInto' | 'without'> = {},
): Promise<FoundFile[]> {
  const root = await real(folder);
  if (!statSync(root).isDirectory()) throw new Failure('NOT_FOUND', `${folder}: expected a folder`);
  const roots = linksInto === undefined ? [root] : [root, await real(linksInto)];
  const found: FoundFile[] = [];
  await walk({ root, roots, without, found }, '');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

interface Walk {
  root: string;
  /** Where links may lead. */
  roots: readonly string[];
  without: readonly string[];
  found: FoundFile[];
}

async function walk(at: Walk, below: string): Promise<void> {
  for (const entry of readdirSync(join(at.root, below), { withFileTypes: true })) {
    const path = checkFilePath(below === '' ? entry.name : `${below}/${entry.name}`);
    const source = join(at.root, path);
    if (at.without.includes(path)) continue;
    if (entry.isDirectory()) await walk(at, path);
    else if (entry.isFile()) at.found.push({ path, source, sizeBytes: lstatSync(source).size });
    else if (entry.isSymbolicLink()) at.found.push(await follow(at, path));
    else throw new Failure('UNSAFE_PATH', `${source}: not a file, a folder or a link`);
  }
}

async function follow({ root, roots }: Walk, path: string): Promise<FoundFile> {
  const source = await realpath(join(root, path)).catch((cause: unknown) => {
    throw new Failure('UNSAFE_PATH', `${path}: a symbolic link to nothing`, { cause });
  });
  if (!roots.some((one) => source.startsWith(one + sep))) {
    throw new Failure('UNSAFE_PATH', `${path}: a symbolic link that leaves the artifact, to ${source}`);
  }
  const target = lstatSync(source);
  if (!target.isFile()) throw new Failure('UNSAFE_PATH', `${path}: a symbolic link to something not a file`);
  return { path, source, sizeBytes: target.size };
}

async function real(folder: string): Promise<string> {
  return await realpath(folder).catch((error: unknown) => {
    throw diskFailure(error, `reading ${folder}`);
  });
}
