import { open, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../core/errors.ts';

/** @see https://github.com/huggingface/safetensors#format */
const lengthBytes = 8;
const maximumHeaderBytes = 100_000_000;

/**
 * Refuses a checkpoint that is not whole, before anything is computed from it: no config, a shard
 * that the index names and that is not there, a safetensors file that is cut short or not one.
 */
export async function checkCheckpoint(folder: string): Promise<void> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new Failure('NOT_FOUND', `${folder}: expected a folder with a checkpoint, found none`, {
      retryable: false,
      cause,
    });
  });
  if (!names.includes('config.json')) throw bad(folder, 'it has no config.json');
  await parseJson(join(folder, 'config.json'));
  const shards = names.filter((name) => name.endsWith('.safetensors'));
  await checkIndex(folder, names, shards);
  if (shards.length === 0) throw bad(folder, 'it has no .safetensors file');
  for (const shard of shards) await checkSafetensors(join(folder, shard));
}

async function checkIndex(
  folder: string,
  names: readonly string[],
  shards: readonly string[],
): Promise<void> {
  const name = 'model.safetensors.index.json';
  if (!names.includes(name)) return;
  const index = await parseJson(join(folder, name));
  const map = index['weight_map'];
  if (typeof map !== 'object' || map === null) throw bad(join(folder, name), 'it has no weight_map');
  const missing = [...new Set(Object.values(map).map(String))]
    .filter((shard) => !shards.includes(shard))
    .sort();
  if (missing.length > 0)
    throw bad(
      folder,
      `${name} names ${missing.join(', ')}, which ${missing.length === 1 ? 'is' : 'are'} missing`,
    );
}

/** Header and size only: the bytes are held to their digest elsewhere. */
async function checkSafetensors(path: string): Promise<void> {
  const { size } = await stat(path);
  const file = await open(path, 'r');
  try {
    if (size < lengthBytes) throw bad(path, `it is cut short: ${size} bytes are no header`);
    const { buffer } = await file.read(Buffer.alloc(lengthBytes), 0, lengthBytes, 0);
    const length = Number(buffer.readBigUInt64LE());
    if (length > maximumHeaderBytes) throw bad(path, 'it is no safetensors file');
    if (lengthBytes + length > size)
      throw bad(path, `it is cut short: its header alone has ${length} bytes, the file ${size}`);
    const header = Buffer.alloc(length);
    await file.read(header, 0, length, lengthBytes);
    const end = endOfData(path, header.toString('utf8'));
    const expected = lengthBytes + length + end;
    if (expected > size) throw bad(path, `it is cut short: expected ${expected} bytes, found ${size}`);
    if (expected < size) throw bad(path, `expected ${expected} bytes, found ${size}`);
  } finally {
    await file.close();
  }
}

/** Where the last tensor ends, in bytes from the end of the header. */
function endOfData(path: string, header: string): number {
  let tensors: unknown;
  try {
    tensors = JSON.parse(header);
  } catch (cause) {
    throw bad(path, 'its header is not JSON', cause);
  }
  if (typeof tensors !== 'object' || tensors === null) throw bad(path, 'its header is not a map');
  let end = 0;
  for (const [name, tensor] of Object.entries(tensors) as [string, unknown][]) {
    if (name === '__metadata__') continue;
    const offsets: unknown =
      typeof tensor === 'object' && tensor !== null && 'data_offsets' in tensor
        ? tensor.data_offsets
        : undefined;
    const last: unknown = Array.isArray(offsets) ? offsets[1] : undefined;
    if (typeof last !== 'number') throw bad(path, `tensor ${name} has no data_offsets`);
    end = Math.max(end, last);
  }
  return end;
}

async function parseJson(path: string): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof value === 'object' && value !== null) return { ...value };
  } catch (cause) {
    throw bad(path, 'it is not JSON', cause);
  }
  throw bad(path, 'it is not a JSON object');
}

function bad(path: string, what: string, cause?: unknown): Failure {
  return new Failure('BAD_INPUT', `${path}: ${what}`, cause === undefined ? {} : { cause });
}
