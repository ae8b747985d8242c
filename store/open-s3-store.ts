import { join, resolve } from 'node:path';
import { createCache } from './layers/cache.ts';
import { createLayeredBackend } from './layers/layered-backend.ts';
import { sweepAbandoned } from './disk/sweep-abandoned.ts';
import { openStore } from './open-store.ts';
import type { Trust } from './records.ts';
import { createS3Backend } from './s3/s3-backend.ts';
import { connectS3, type ConnectionOptions } from './s3/s3-connection.ts';
import type { S3Location } from './s3/s3-location.ts';
import type { Store } from './store.ts';

export interface S3StoreOptions extends Trust {
  /** Copies of objects are in `<home>/cache`, views in `<home>/views`, what waits to be sent in `<home>/spool`. */
  home: string;
  connection?: ConnectionOptions;
}

/** A store in a bucket, with copies on this host. Opening asks the service nothing. */
export function openS3Store(place: S3Location, options: S3StoreOptions): Store {
  const home = resolve(options.home);
  const viewsFolder = join(home, 'views');
  const spoolFolder = join(home, 'spool');
  sweepAbandoned(spoolFolder, () => true);
  sweepAbandoned(viewsFolder, (name) => name.startsWith('.'));
  const connection = connectS3(place, options.connection);
  const remote = createS3Backend({ connection, spoolFolder });
  const cache = createCache(join(home, 'cache'), place.cacheBytes);
  sweepAbandoned(join(home, 'cache', 'tmp'), () => true);
  return openStore(createLayeredBackend(remote, cache), {
    ...options,
    viewsFolder,
    indexFolder: join(home, 'index'),
    asksInBulk: true,
  });
}
