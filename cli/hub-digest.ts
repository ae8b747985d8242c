import { createHash } from 'node:crypto';
import { artifactDigest, type FileEntry } from '../core/artifact.ts';
import type { Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { sha256Text } from '../store/sha256.ts';

/** What of the network is needed; tests answer it themselves. */
export type Fetch = (url: string, headers: Readonly<Record<string, string>>) => Promise<Response>;

export interface HubPlace {
  type: string;
  /** hf://owner/name */
  location: string;
  /** A branch, tag or commit; `main` when absent. */
  revision?: string | undefined;
  token?: string | undefined;
}

export interface HubPin {
  /** The commit that the revision names now. */
  revision: string;
  digest: Digest;
}

const host = 'https://huggingface.co';

/**
 * The pins of a Hugging Face repository without its weights: large files are listed with their
 * sha256 (Git LFS), and only the small ones are read.
 * @see https://huggingface.co/docs/hub/api
 */
export async function hubPin(place: HubPlace, fetch: Fetch): Promise<HubPin> {
  const name = place.location.slice('hf://'.length).replace(/\/$/, '');
  const isDataset = place.type === 'dataset';
  const api = `${host}/api/${isDataset ? 'datasets' : 'models'}/${name}`;
  const ask: Ask = async (url) => await request(url, place.token, fetch);
  const revision = await commitOf(`${api}/revision/${encodeURIComponent(place.revision ?? 'main')}`, ask);
  const files: FileEntry[] = [];
  let next: string | undefined = `${api}/tree/${revision}?recursive=true`;
  while (next !== undefined) {
    const response: Response = await ask(next);
    for (const entry of readEntries(await response.json(), next)) {
      const url = `${host}/${isDataset ? 'datasets/' : ''}${name}/resolve/${revision}/${encodeURI(entry.path)}`;
      files.push({
        path: entry.path,
        size: entry.size,
        sha256: entry.sha256 ?? (await smallFileSha256(url, ask)),
      });
    }
    next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
  }
  if (files.length === 0) throw new Failure('NOT_FOUND', `${place.location} has no files at ${revision}`);
  return { revision, digest: artifactDigest(files, sha256Text) };
}

type Ask = (url: string) => Promise<Response>;

interface TreeEntry {
  path: string;
  size: number;
  sha256: string | undefined;
}

async function commitOf(url: string, ask: Ask): Promise<string> {
  const answer: unknown = await (await ask(url)).json();
  const commit = member(answer, 'sha');
  if (typeof commit === 'string' && /^[0-9a-f]{40}$/.test(commit)) return commit;
  throw new Failure('BAD_INPUT', `${url}: expected a commit, found ${JSON.stringify(commit)}`);
}

function readEntries(page: unknown, url: string): TreeEntry[] {
  if (!Array.isArray(page)) throw new Failure('BAD_INPUT', `${url}: expected a list of files`);
  return page.flatMap((entry: unknown) => {
    if (member(entry, 'type') !== 'file') return [];
    const [path, size, sha256] = [
      member(entry, 'path'),
      member(entry, 'size'),
      member(member(entry, 'lfs'), 'oid'),
    ];
    if (typeof path !== 'string' || typeof size !== 'number')
      throw new Failure('BAD_INPUT', `${url}: a file without path or size`);
    const isHash = typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256);
    return [{ path, size, sha256: isHash ? sha256 : undefined }];
  });
}

async function smallFileSha256(url: string, ask: Ask): Promise<string> {
  const bytes = new Uint8Array(await (await ask(url)).arrayBuffer());
  return createHash('sha256').update(bytes).digest('hex');
}

async function request(url: string, token: string | undefined, fetch: Fetch): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, token === undefined ? {} : { authorization: `Bearer ${token}` });
  } catch (cause) {
    throw new Failure('STORE_UNAVAILABLE', `${url} does not answer: ${String(cause)}`, { cause });
  }
  if (response.ok) return response;
  const isOurs = [401, 403, 404].includes(response.status);
  throw new Failure(isOurs ? 'NOT_FOUND' : 'STORE_UNAVAILABLE', `${url}: HTTP ${response.status}`);
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? Object.entries(value).find(([key]) => key === name)?.[1]
    : undefined;
}
