import { Failure } from '../core/errors.ts';
import type { ObjectBackend } from './object-backend.ts';
import { parseNumber } from './object-names.ts';

/** Numbers that exist below `folder`, ascending. */
export async function generationsOf(backend: ObjectBackend, folder: string): Promise<number[]> {
  const numbers = (await backend.children(folder)).map(parseNumber);
  return numbers.filter((n) => n !== undefined).sort((a, b) => a - b);
}

/** `<folder>/<n>` as text; undefined when there is none. */
export async function readText(backend: ObjectBackend, name: string): Promise<string | undefined> {
  const bytes = await backend.get(name);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString('utf8');
}

export async function latestGeneration(
  backend: ObjectBackend,
  folder: string,
): Promise<{ generation: number; text: string } | undefined> {
  const generation = (await generationsOf(backend, folder)).at(-1);
  if (generation === undefined) return undefined;
  const text = await readText(backend, `${folder}/${generation}`);
  return text === undefined ? undefined : { generation, text };
}

/**
 * Creates `<folder>/<generation>`. `text` is what holds under that number now: ours, or that of
 * whoever was first. A generation follows the one before it, so that the highest is never a stray.
 */
export async function createGeneration(
  backend: ObjectBackend,
  folder: string,
  entry: { generation: number; text: string },
): Promise<{ created: boolean; text: string }> {
  const { generation, text } = entry;
  const isFollowing = generation === 1 || (await backend.head(`${folder}/${generation - 1}`)) !== undefined;
  if (!Number.isSafeInteger(generation) || generation < 1 || !isFollowing) {
    throw new Failure('BAD_INPUT', `${folder}: generation ${generation} does not follow an existing one`);
  }
  const name = `${folder}/${generation}`;
  if (await backend.create(name, Buffer.from(text, 'utf8'))) return { created: true, text };
  const existing = await readText(backend, name);
  if (existing === undefined) throw new Failure('CORRUPT', `${name}: exists but cannot be read`);
  return { created: existing === text, text: existing };
}
