import { join, resolve } from 'node:path';
import { openDiskStore } from '../store/open-disk-store.ts';
import type { Store } from '../store/store.ts';

/** `.fretsaw/`: everything that Fretsaw keeps on this host. */
export interface HomePaths {
  root: string;
  work: string;
  downloads: string;
  temporal: string;
  clients: string;
  worker: string;
}

/** `FRETSAW_HOME`, else `.fretsaw` in the folder where the command was given. */
export function homePaths(env: NodeJS.ProcessEnv, cwd: string): HomePaths {
  const root = resolve(cwd, env['FRETSAW_HOME'] || '.fretsaw');
  return {
    root,
    work: join(root, 'work'),
    downloads: join(root, 'downloads'),
    temporal: join(root, 'temporal'),
    clients: join(root, 'clients'),
    worker: join(root, 'worker'),
  };
}

/** The trust domain that this host writes. */
export const localDomain = 'local';

export function openHomeStore(home: string): Store {
  return openDiskStore({ home, domain: localDomain, trusted: [] });
}
