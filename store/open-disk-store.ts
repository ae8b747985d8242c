import { join, resolve } from 'node:path';
import { createDiskBackend } from './disk/disk-backend.ts';
import { sweepAbandoned } from './disk/sweep-abandoned.ts';
import { openStore } from './open-store.ts';
import type { Trust } from './records.ts';
import type { Store } from './store.ts';

export interface DiskStoreOptions extends Trust {
  /** The `.fretsaw` folder: views are in `<home>/views`. */
  home: string;
  /** Where the store is when it is not `<home>/store`. */
  root?: string;
}

/** Opening writes nothing (so it works on a read-only disk) but takes away what killed writers left. */
export function openDiskStore(options: DiskStoreOptions): Store {
  const home = resolve(options.home);
  const root = resolve(options.root ?? join(home, 'store'));
  const viewsFolder = join(home, 'views');
  sweepAbandoned(join(root, 'tmp'), () => true);
  sweepAbandoned(viewsFolder, (name) => name.startsWith('.'));
  return openStore(createDiskBackend(root), { ...options, viewsFolder, indexFolder: join(home, 'index') });
}
