import { link, mkdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import type { ArtifactRef } from '../core/artifact.ts';
import { isFailure } from '../core/errors.ts';
import type { Work } from './execute-stage.ts';
import type { JobFolder } from './job-folder.ts';

/**
 * Puts what an ended job wrote (logs of all ranks, events, stacks) into the store, so that it can be
 * read from any host and after this one is gone. Undefined when it wrote nothing, or when the store
 * cannot take it now: a log is not worth an attempt.
 */
export async function keepLogs(
  { deps, launcher }: Work,
  folder: JobFolder,
): Promise<ArtifactRef | undefined> {
  const files = [...(await launcher.logs(folder)), folder.events, folder.stacks];
  const written = [];
  for (const file of files) if ((await sizeOf(file)) > 0) written.push(file);
  if (written.length === 0) return undefined;
  try {
    await rm(folder.kept, { recursive: true, force: true });
    for (const file of written) await linkInto(folder.kept, { file, folder: folder.path });
    return await deps.store.artifacts.putFolder(folder.kept, { type: 'folder' });
  } catch (error) {
    if (isFailure(error)) return undefined;
    throw error;
  }
}

/** Keeps the path below the job folder: `log`, `ranks/.../stderr.log`. */
async function linkInto(kept: string, { file, folder }: { file: string; folder: string }): Promise<void> {
  const below = relative(folder, file);
  const target = join(kept, below.startsWith('..') ? basename(file) : below);
  await mkdir(dirname(target), { recursive: true });
  await link(file, target);
}

async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => undefined))?.size ?? 0;
}
