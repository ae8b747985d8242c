import type { FileEntry } from '../core/artifact.ts';
import { Failure } from '../core/errors.ts';
import { tensorOwner } from './cut/expert-names.ts';
import { parseTensorFile, type TensorEntry } from './cut/safetensors-header.ts';
import type { ObjectBackend } from './object-backend.ts';
import type { Manifest, StoredTensor } from './store.ts';
import { readFileRange } from './stored-files.ts';

/**
 * One tensor of a checkpoint, or one expert's row of a stacked one, without the rest: reads the headers
 * of its safetensors files and the pieces that hold the tensor, each verified. NOT_FOUND, BAD_INPUT.
 */
export async function readTensor(
  backend: ObjectBackend,
  manifest: Manifest,
  { name, expert }: { name: string; expert?: number },
): Promise<StoredTensor> {
  for (const file of manifest.files.filter(({ path }) => path.endsWith('.safetensors'))) {
    const tensor = (await tensorsOf(backend, file)).find((one) => one.name === name);
    if (tensor === undefined) continue;
    const { shape, start, end } = expert === undefined ? tensor : rowOf(tensor, expert);
    const bytes = await readFileRange(backend, file, { start, end });
    return { file: file.path, name, dtype: tensor.dtype, shape, bytes };
  }
  throw new Failure('NOT_FOUND', `no tensor ${JSON.stringify(name)} in the artifact's safetensors files`);
}

async function tensorsOf(backend: ObjectBackend, file: FileEntry): Promise<TensorEntry[]> {
  const length = Buffer.from(await readFileRange(backend, file, { start: 0, end: 8 }));
  const size = length.length < 8 ? 0 : Number(length.readBigUInt64LE());
  if (size > file.size) return [];
  const header = await readFileRange(backend, file, { start: 8, end: 8 + size });
  return parseTensorFile(Buffer.from(header), file.size)?.tensors ?? [];
}

function rowOf(
  { name, shape, start, end }: TensorEntry,
  expert: number,
): Pick<TensorEntry, 'shape' | 'start' | 'end'> {
  const [rows = 0, ...rest] = shape;
  if (tensorOwner(name).kind !== 'stacked')
    throw new Failure('BAD_INPUT', `${name} is not stacked by expert`);
  if (expert >= rows)
    throw new Failure('BAD_INPUT', `${name}: expected an expert below ${rows}, found ${expert}`);
  const rowBytes = (end - start) / rows;
  return { shape: rest, start: start + expert * rowBytes, end: start + (expert + 1) * rowBytes };
}
