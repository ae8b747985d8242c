import { openDiskStore } from './open-disk-store.ts';
import { openS3Store } from './open-s3-store.ts';
import { parseStoreLocation } from './store-location.ts';
import type { Trust } from './records.ts';
import type { Store } from './store.ts';

export interface StoreOptions extends Trust {
  /** The folder for views, for what is cached, and for the store itself when no other place is named. */
  home: string;
}

/** The store at `location` (see parseStoreLocation), or the one in the home. */
export function openStoreAt(location: string | undefined, options: StoreOptions): Store {
  if (location === undefined) return openDiskStore(options);
  const place = parseStoreLocation(location);
  if (place.kind === 'disk') return openDiskStore({ ...options, root: place.root });
  return openS3Store(place.s3, options);
}
