import { createWriteStream } from 'node:fs';
import { mkdir, rename, stat } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '../../core/errors.ts';
import type { FetchTarget } from './fetch.ts';
import type { ImportSource } from './import-artifact.ts';

const host = 'https://huggingface.co';

interface HubFile {
  path: string;
  size: number;
}

/**
 * Downloads one revision of a Hugging Face repository. A file that was cut off goes on where it
 * stopped (HTTP range). The revision must be named: a branch is not a version.
 * @see https://huggingface.co/docs/hub/api
 */
export async function fetchHub({ type, location, revision }: ImportSource, to: FetchTarget): Promise<void> {
  if (revision === undefined || !/^[0-9a-f]{40}$/.test(revision)) {
    throw new Failure(
      'BAD_INPUT',
      `${location}: expected a revision of 40 hex digits, found ${revision ?? 'none'}`,
    );
  }
  const repository = location.slice('hf://'.length).replace(/\/$/, '');
  const kind = type === 'dataset' ? 'datasets' : 'models';
  const files = await listFiles(`${host}/api/${kind}/${repository}/tree/${revision}?recursive=true`, to);
  const prefix = type === 'dataset' ? `${host}/datasets` : host;
  for (const file of files) {
    await download(`${prefix}/${repository}/resolve/${revision}/${encodeURI(file.path)}`, file, to);
  }
}

/** The tree is paged; the next page is in the Link header. */
async function listFiles(url: string, to: FetchTarget): Promise<HubFile[]> {
  const files: HubFile[] = [];
  for (let next: string | undefined = url; next !== undefined;) {
    const response: Response = await request(next, to);
    const page: unknown = await response.json();
    if (!Array.isArray(page)) throw new Failure('BAD_INPUT', `${url}: expected a list of files`);
    for (const entry of page as unknown[]) files.push(...readEntry(entry));
    next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
  }
  return files;
}

function readEntry(entry: unknown): HubFile[] {
  if (typeof entry !== 'object' || entry === null || !('type' in entry) || entry.type !== 'file') return [];
  if (!('path' in entry) || typeof entry.path !== 'string') return [];
  if (!('size' in entry) || typeof entry.size !== 'number') return [];
  if (normalize(entry.path).startsWith('..')) throw new Failure('UNSAFE_PATH', entry.path);
  return [{ path: entry.path, size: entry.size }];
}

async function download(url: string, file: HubFile, to: FetchTarget): Promise<void> {
  const path = join(to.folder, file.path);
  if ((await sizeOf(path)) === file.size) return;
  const partial = `${path}.partial`;
  await mkdir(dirname(path), { recursive: true });
  const have = (await sizeOf(partial)) ?? 0;
  if (have < file.size || file.size === 0) {
    const response = await request(url, to, have > 0 ? { range: `bytes=${have}-` } : {});
    const isContinued = response.status === 206;
    if (response.body === null) throw new Failure('STORE_UNAVAILABLE', `${url}: no body`);
    let seen = isContinued ? have : 0;
    const tell = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        seen += chunk.length;
        to.beat({ file: file.path, bytes: seen, of: file.size });
        done(null, chunk);
      },
    });
    await pipeline(
      Readable.fromWeb(response.body as never),
      tell,
      createWriteStream(partial, { flags: isContinued ? 'a' : 'w' }),
      { signal: to.signal },
    );
  }
  const got = await sizeOf(partial);
  if (got !== file.size)
    throw new Failure('STORE_UNAVAILABLE', `${url}: expected ${file.size} bytes, got ${got ?? 0}`);
  await rename(partial, path);
}

async function request(
  url: string,
  to: FetchTarget,
  headers: Record<string, string> = {},
): Promise<Response> {
  const auth = to.token === undefined ? {} : { authorization: `Bearer ${to.token}` };
  let response: Response;
  try {
    response = await fetch(url, { headers: { ...auth, ...headers }, signal: to.signal });
  } catch (cause) {
    throw new Failure('STORE_UNAVAILABLE', `${url}: ${String(cause)}`, { cause });
  }
  if (response.ok) return response;
  const isOurs = response.status === 401 || response.status === 403 || response.status === 404;
  throw new Failure(isOurs ? 'BAD_INPUT' : 'STORE_UNAVAILABLE', `${url}: HTTP ${response.status}`);
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}
