import { createWriteStream } from 'node:fs';
import { mkdir, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '../../core/errors.ts';
import { checkFilePath } from '../../store/object-names.ts';
import { listPages } from '../../store/s3/list-objects.ts';
import { streamObject } from '../../store/s3/read-objects.ts';
import { connectS3, type ConnectionOptions, type S3Connection } from '../../store/s3/s3-connection.ts';
import { parseS3Location } from '../../store/s3/s3-location.ts';
import type { FetchTarget } from './fetch.ts';
import type { ImportSource } from './import-artifact.ts';

interface Listed {
  path: string;
  sizeBytes: number;
}

/**
 * Downloads everything below `s3://bucket/prefix/` with the credentials of the worker's environment.
 * `options` is for whoever has others.
 */
export async function fetchS3(
  { location }: ImportSource,
  to: FetchTarget,
  options: ConnectionOptions = {},
): Promise<void> {
  const connection = connectS3(parseS3Location(location), options);
  const files = await list(connection);
  if (files.length === 0)
    throw new Failure('NOT_FOUND', `${location}: nothing is stored below it`, { retryable: false });
  for (const file of files) await download(connection, file, to);
}

/** A key that ends in a slash is what some tools leave for a folder. */
async function list(connection: S3Connection): Promise<Listed[]> {
  const files: Listed[] = [];
  for await (const { objects } of listPages(connection, { prefix: '' })) {
    for (const { name, sizeBytes } of objects)
      if (!name.endsWith('/')) files.push({ path: checkFilePath(name), sizeBytes });
  }
  return files;
}

async function download(connection: S3Connection, file: Listed, to: FetchTarget): Promise<void> {
  const path = join(to.folder, file.path);
  if ((await stat(path).catch(() => undefined))?.size === file.sizeBytes) return;
  await mkdir(dirname(path), { recursive: true });
  const partial = `${path}.partial`;
  await pipeline(Readable.from(told(connection, file, to)), createWriteStream(partial), {
    signal: to.signal,
  });
  const got = (await stat(partial)).size;
  if (got !== file.sizeBytes)
    throw new Failure('STORE_UNAVAILABLE', `${file.path}: expected ${file.sizeBytes} bytes, got ${got}`);
  await rename(partial, path);
}

async function* told(
  connection: S3Connection,
  { path, sizeBytes }: Listed,
  to: FetchTarget,
): AsyncIterable<Uint8Array> {
  let seen = 0;
  for await (const chunk of streamObject(connection, path)) {
    seen += chunk.length;
    to.beat({ file: path, bytes: seen, of: sizeBytes });
    yield chunk;
  }
}
