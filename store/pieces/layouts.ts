import { isFailure } from '../../core/errors.ts';
import { generationsOf, readText } from '../generations.ts';
import type { ObjectBackend } from '../object-backend.ts';
import { objectNames } from '../object-names.ts';
import { parseLayout, parseLayoutPacks, type Layout } from './layout.ts';

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

/**
 * Whether a file of this size is there in pieces: its layout, and each pack with its size. A pack of
 * another size is broken: it goes to quarantine.
 */
export async function isLaidOut(
  backend: ObjectBackend,
  file: { sha256: string; size: number },
): Promise<boolean> {
  const found = await latest(backend, file.sha256, parseLayoutPacks);
  if (found?.value.sizeBytes !== file.size) return false;
  const { packs } = found.value;
  const sizes = await backend.headMany(packs.map((pack) => objectNames.pack(pack.sha256)));
  let isWhole = true;
  for (const [n, pack] of packs.entries()) {
    const there = sizes[n]?.sizeBytes;
    if (there === pack.sizeBytes) continue;
    isWhole = false;
    if (there !== undefined) await backend.quarantine(objectNames.pack(pack.sha256));
  }
  return isWhole;
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
