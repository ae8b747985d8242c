import { realpath } from 'node:fs/promises';
import { lstatSync, readdirSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { Failure } from '../core/errors.ts';
import { diskFailure } from './disk/disk-failure.ts';
import { checkFilePath } from './object-names.ts';

/** A file found below a folder: its path in the artifact and where its bytes are (a link was followed). */
export interface FoundFile {
  path: string;
  source: string;
  sizeBytes: number;
}

/**
 * Every file below `folder`. A symbolic link to a file inside it counts as that file; one that
 * leaves it, dangles or names a folder is UNSAFE_PATH, as are sockets, pipes and devices. Empty
 * folders are not part of an artifact.
 */
export async function filesBelow(folder: string): Promise<FoundFile[]> {
  const root = await realpath(folder).catch((error: unknown) => {
    throw diskFailure(error, `reading ${folder}`);
  });
  if (!statSync(root).isDirectory()) throw new Failure('NOT_FOUND', `${folder}: expected a folder`);
  const found: FoundFile[] = [];
  await walk(root, '', found);
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function walk(root: string, below: string, found: FoundFile[]): Promise<void> {
  for (const entry of readdirSync(join(root, below), { withFileTypes: true })) {
    const path = checkFilePath(below === '' ? entry.name : `${below}/${entry.name}`);
    const source = join(root, path);
    if (entry.isDirectory()) await walk(root, path, found);
    else if (entry.isFile()) found.push({ path, source, sizeBytes: lstatSync(source).size });
    else if (entry.isSymbolicLink()) found.push(await follow(root, path));
    else throw new Failure('UNSAFE_PATH', `${source}: not a file, a folder or a link`);
  }
}

async function follow(root: string, path: string): Promise<FoundFile> {
  const source = await realpath(join(root, path)).catch((cause: unknown) => {
    throw new Failure('UNSAFE_PATH', `${path}: a symbolic link to nothing`, { cause });
  });
  if (!source.startsWith(root + sep)) {
    throw new Failure('UNSAFE_PATH', `${path}: a symbolic link that leaves the artifact, to ${source}`);
  }
  const target = lstatSync(source);
  if (!target.isFile()) throw new Failure('UNSAFE_PATH', `${path}: a symbolic link to something not a file`);
  return { path, source, sizeBytes: target.size };
}
