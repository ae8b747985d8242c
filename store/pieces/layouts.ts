import { isFailure } from '../../core/errors.ts';
import { generationsOf, readText } from '../generations.ts';
import { inParallel } from '../in-parallel.ts';
import type { ObjectBackend } from '../object-backend.ts';
import { objectNames } from '../object-names.ts';
import { parseLayout, parseLayoutPacks, type Layout, type PackRef } from './layout.ts';

const layoutsAtOnce = 16;

export interface SizedFile {
  sha256: string;
  size: number;
}

/** The layout that holds for a file; undefined when it is one blob, or not there. One that is broken goes to quarantine. */
export async function readLayout(
  backend: ObjectBackend,
  sha256: string,
): Promise<{ name: string; layout: Layout } | undefined> {
  const found = await latest(backend, sha256, parseLayout);
  return found === undefined ? undefined : { name: found.name, layout: found.value };
}

/** Which generation of a file's layout may be written next. */
export async function nextGeneration(backend: ObjectBackend, sha256: string): Promise<number> {
  return ((await generationsOf(backend, objectNames.layout(sha256))).at(-1) ?? 0) + 1;
}

/** Whether a file of this size is there in pieces: its layout, and each pack with its size. */
export async function isLaidOut(backend: ObjectBackend, file: SizedFile): Promise<boolean> {
  return (await laidOut(backend, [file])).length > 0;
}

/**
 * Which of these files are there in pieces; one question for all their packs. A pack of another size is
 * broken: it goes to quarantine.
 */
export async function laidOut<T extends SizedFile>(
  backend: ObjectBackend,
  files: readonly T[],
): Promise<T[]> {
  const packsOfFile = new Map<T, PackRef[]>();
  await inParallel(files, layoutsAtOnce, async (file) => {
    const found = await latest(backend, file.sha256, parseLayoutPacks);
    if (found?.value.sizeBytes === file.size) packsOfFile.set(file, found.value.packs);
  });
  const packs = new Map([...packsOfFile.values()].flat().map((pack) => [pack.sha256, pack]));
  const broken = await brokenPacks(backend, [...packs.values()]);
  return files.filter((file) => packsOfFile.get(file)?.every(({ sha256 }) => !broken.has(sha256)) === true);
}

/** Those that are not there with their size. */
export async function brokenPacks(
  backend: ObjectBackend,
  packs: readonly PackRef[],
): Promise<ReadonlySet<string>> {
  const sizes = await backend.headMany(packs.map(({ sha256 }) => objectNames.pack(sha256)));
  const broken = new Set<string>();
  for (const [n, { sha256, sizeBytes }] of packs.entries()) {
    const there = sizes[n]?.sizeBytes;
    if (there === sizeBytes) continue;
    broken.add(sha256);
    if (there !== undefined) await backend.quarantine(objectNames.pack(sha256));
  }
  return broken;
}

async function latest<T>(
  backend: ObjectBackend,
  sha256: string,
  parse: (text: string, sha256: string) => T,
): Promise<{ name: string; value: T } | undefined> {
  const folder = objectNames.layout(sha256);
  for (const generation of (await generationsOf(backend, folder)).reverse()) {
    const name = `${folder}/${generation}`;
    const text = await readText(backend, name);
    if (text === undefined) continue;
    try {
      return { name, value: parse(text, sha256) };
    } catch (error) {
      if (!isFailure(error, 'CORRUPT')) throw error;
      await backend.quarantine(name);
    }
  }
  return undefined;
}
