import { open, readdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../../core/errors.ts';
import { parseHeader, type HeaderEntry } from './tensor-header.ts';

/** One tensor of a checkpoint on disk. Rows are those of its first axis. */
export interface StoredTensor extends HeaderEntry {
  file: string;
}

const largestHeaderBytes = 100 * 2 ** 20;

/**
 * The tensors of every *.safetensors file of a folder, read a row at a time by the format's own
 * description: 8 bytes of header length, a JSON header, the data.
 * @see https://github.com/huggingface/safetensors#format
 */
export class StoredTensors {
  readonly folder: string;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #handles = new Map<string, FileHandle>();

  private constructor(folder: string, tensors: ReadonlyMap<string, StoredTensor>) {
    this.folder = folder;
    this.#tensors = tensors;
  }

  /** BAD_INPUT when there is no such file, or one is cut short or is something else. */
  static async open(folder: string): Promise<StoredTensors> {
    const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.safetensors'));
    if (names.length === 0) throw new Failure('BAD_INPUT', `${folder} holds no .safetensors file`);
    const tensors = new Map<string, StoredTensor>();
    for (const file of names.sort()) {
      for (const [name, entry] of await readHeader(join(folder, file))) {
        if (tensors.has(name)) throw new Failure('BAD_INPUT', `${folder}: ${name} is in two files`);
        tensors.set(name, { ...entry, file: join(folder, file) });
      }
    }
    return new StoredTensors(folder, tensors);
  }

  names(): Iterable<string> {
    return this.#tensors.keys();
  }

  get(name: string): StoredTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Failure('BAD_INPUT', `${this.folder} has no ${name}`);
    return tensor;
  }

  /** The bytes of one row. */
  async row(tensor: StoredTensor, index: number): Promise<Uint8Array> {
    const width = tensor.sizeBytes / (tensor.shape[0] ?? 1);
    const handle = await this.#handle(tensor.file);
    const bytes = new Uint8Array(width);
    const { bytesRead } = await handle.read(bytes, 0, width, tensor.offset + index * width);
    if (bytesRead !== width) throw new Failure('BAD_INPUT', `${tensor.file} is cut short`);
    return bytes;
  }

  async close(): Promise<void> {
    for (const handle of this.#handles.values()) await handle.close();
    this.#handles.clear();
  }

  async #handle(file: string): Promise<FileHandle> {
    const known = this.#handles.get(file);
    if (known !== undefined) return known;
    const opened = await open(file);
    this.#handles.set(file, opened);
    return opened;
  }
}

async function readHeader(file: string): Promise<ReadonlyMap<string, HeaderEntry>> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const prefix = Buffer.alloc(8);
    await handle.read(prefix, 0, 8, 0);
    const length = Number(prefix.readBigUInt64LE());
    if (size < 8 || length > Math.min(size - 8, largestHeaderBytes)) {
      throw new Failure('BAD_INPUT', `${file}: a header of ${length} bytes in a file of ${size}`);
    }
    const header = Buffer.alloc(length);
    await handle.read(header, 0, length, 8);
    return parseHeader(header.toString('utf8'), { file, start: 8 + length, size });
  } finally {
    await handle.close();
  }
}
