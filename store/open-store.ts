import { createArtifacts } from './artifacts.ts';
import { createDocuments } from './documents.ts';
import { createLeases } from './leases.ts';
import type { ObjectBackend } from './object-backend.ts';
import { createPieceIndex } from './pieces/piece-index.ts';
import { createRecords, type Trust } from './records.ts';
import { createRefs } from './refs.ts';
import { createSnapshots } from './snapshots.ts';
import { createCollections } from './upkeep/collections.ts';
import { createUpkeep } from './upkeep/upkeep.ts';
import type { Store } from './store.ts';
import { createViews } from './views.ts';

export interface OpenOptions extends Trust {
  viewsFolder: string;
  /** Where this host remembers which pieces the store has; undefined: nowhere. */
  indexFolder?: string;
  /** Where each question is a round trip, one list of all records is cheaper than a look at many. */
  asksInBulk?: boolean;
}

/** The whole store over any backend; its folders are always local. */
export function openStore(backend: ObjectBackend, options: OpenOptions): Store {
  const leases = createLeases(backend);
  const refs = createRefs(backend);
  const collections = createCollections(backend);
  const artifacts = createArtifacts(backend, {
    views: createViews(backend, options.viewsFolder),
    index: createPieceIndex(backend, options.indexFolder),
    collections,
  });
  return {
    location: backend.location,
    artifacts,
    records: createRecords(backend, { ...options, asksInBulk: options.asksInBulk ?? false }),
    refs,
    leases,
    snapshots: createSnapshots(backend, leases),
    documents: createDocuments(backend),
    upkeep: createUpkeep(backend, { artifacts, refs, collections }),
  };
}
