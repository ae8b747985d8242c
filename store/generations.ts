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
 * whoever was first; equal bytes count as ours, because a repeated call must find its own success.
 * A number below the highest is refused: nobody would ever see it.
 */
export async function createGeneration(
  backend: ObjectBackend,
  folder: string,
  entry: { generation: number; text: string },
): Promise<{ created: boolean; text: string }> {
  const { generation, text } = entry;
  const name = `${folder}/${generation}`;
  const highest = (await generationsOf(backend, folder)).at(-1) ?? 0;
  if (!Number.isSafeInteger(generation) || generation < 1) throw outOfOrder(name, highest);
  if (generation > highest && (await backend.create(name, Buffer.from(text, 'utf8'))))
    return { created: true, text };
  const existing = await readText(backend, name);
  if (existing === undefined) throw outOfOrder(name, highest);
  return { created: existing === text, text: existing };
}

function outOfOrder(name: string, highest: number): Failure {
  return new Failure('BAD_INPUT', `${name}: expected a generation above ${highest}`);
}
