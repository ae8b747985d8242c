import { createHash } from 'node:crypto';
import { isAbsolute, join, resolve } from 'node:path';
import { openStoreAt } from '../store/open-store-at.ts';
import { parseStoreLocation } from '../store/store-location.ts';
import type { Store } from '../store/store.ts';

/** `.fretsaw/`: everything that Fretsaw keeps on this host. */
export interface HomePaths {
  root: string;
  /** Where the store is when it is not in the home itself: a folder or `s3://bucket/prefix`. */
  store?: string;
  work: string;
  downloads: string;
  temporal: string;
  clients: string;
  worker: string;
}

/**
 * `FRETSAW_HOME`, else `.fretsaw` in the folder where the command was given. Each store that
 * `FRETSAW_STORE` names has a home of its own below that, with its own server, worker and cache: what is
 * at work for one store never reads or writes another.
 */
export function homePaths(env: NodeJS.ProcessEnv, cwd: string): HomePaths {
  const root = resolve(cwd, env['FRETSAW_HOME'] || '.fretsaw');
  const named = env['FRETSAW_STORE'];
  if (named === undefined || named === '') return homePathsAt(root);
  const store = named.includes('://') || isAbsolute(named) ? named : resolve(cwd, named);
  return homePathsAt(join(root, 'remote', folderOf(store)), withEndpoint(store, env));
}

/** The SDK's own variables for another service than AWS; named in the location, they reach the worker too. */
function withEndpoint(store: string, env: NodeJS.ProcessEnv): string {
  const endpoint = env['AWS_ENDPOINT_URL_S3'] || env['AWS_ENDPOINT_URL'];
  if (endpoint === undefined || endpoint === '' || !store.startsWith('s3://')) return store;
  if (/[?&]endpoint=/.test(store)) return store;
  return `${store}${store.includes('?') ? '&' : '?'}endpoint=${encodeURIComponent(endpoint)}`;
}

export function homePathsAt(root: string, store?: string): HomePaths {
  return {
    root,
    ...(store === undefined ? {} : { store }),
    work: join(root, 'work'),
    downloads: join(root, 'downloads'),
    temporal: join(root, 'temporal'),
    clients: join(root, 'clients'),
    worker: join(root, 'worker'),
  };
}

/** Options of a location (endpoint, encryption) say how it is reached, and make no other store of it. */
function folderOf(store: string): string {
  const { name } = parseStoreLocation(store);
  const readable = name.replace(/^[a-z0-9]+:\/+/, '').replaceAll(/[^A-Za-z0-9.-]+/g, '-');
  return `${readable.slice(-40)}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
}

/** The trust domain that this host writes. */
export const localDomain = 'local';

export function openHomeStore({ root, store }: HomePaths): Store {
  return openStoreAt(store, { home: root, domain: localDomain, trusted: [] });
}
