import { createWriteStream } from 'node:fs';
import { mkdir, rename, stat } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ListObjectsV2CommandOutput, S3Client } from '@aws-sdk/client-s3';
import { Failure } from '../../core/errors.ts';
import type { FetchTarget } from './fetch.ts';
import type { ImportSource } from './import-artifact.ts';

interface Listed {
  name: string;
  size: number;
}

/** Downloads everything below `s3://bucket/prefix/` with the credentials of the worker's environment. */
export async function fetchS3({ location }: ImportSource, to: FetchTarget): Promise<void> {
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]+)\/(.+?)\/?$/.exec(location) ?? [];
  const { S3Client } = await import('@aws-sdk/client-s3');
  const client = new S3Client({});
  try {
    const files = await list(client, { bucket, prefix: `${prefix}/` });
    if (files.length === 0)
      throw new Failure('NOT_FOUND', `${location}: nothing is stored below it`, { retryable: false });
    for (const file of files) await download(client, { bucket, prefix: `${prefix}/`, file, to });
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw new Failure('STORE_UNAVAILABLE', `${location}: ${String(cause)}`, { cause });
  } finally {
    client.destroy();
  }
}

interface Place {
  bucket: string;
  prefix: string;
}

async function list(client: S3Client, { bucket, prefix }: Place): Promise<Listed[]> {
  const { ListObjectsV2Command } = await import('@aws-sdk/client-s3');
  const files: Listed[] = [];
  for (let token: string | undefined, isLast = false; !isLast;) {
    const page: ListObjectsV2CommandOutput = await client.send(
      new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }),
    );
    for (const { Key, Size } of page.Contents ?? []) {
      if (Key !== undefined && !Key.endsWith('/')) files.push({ name: Key, size: Size ?? 0 });
    }
    token = page.NextContinuationToken;
    isLast = token === undefined;
  }
  return files;
}

async function download(
  client: S3Client,
  { bucket, prefix, file, to }: Place & { file: Listed; to: FetchTarget },
): Promise<void> {
  const below = file.name.slice(prefix.length);
  if (normalize(below).startsWith('..')) throw new Failure('UNSAFE_PATH', file.name);
  const path = join(to.folder, below);
  if ((await stat(path).catch(() => undefined))?.size === file.size) return;
  await mkdir(dirname(path), { recursive: true });
  const { GetObjectCommand } = await import('@aws-sdk/client-s3');
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: file.name }), {
    abortSignal: to.signal,
  });
  if (!(Body instanceof Readable))
    throw new Failure('STORE_UNAVAILABLE', `s3://${bucket}/${file.name}: no body`);
  Body.on('data', () => {
    to.beat({ file: below, of: file.size });
  });
  await pipeline(Body, createWriteStream(`${path}.partial`), { signal: to.signal });
  await rename(`${path}.partial`, path);
}
