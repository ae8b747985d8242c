import { createArtifacts } from './artifacts.ts';
import { createDocuments } from './documents.ts';
import { createLeases } from './leases.ts';
import type { ObjectBackend } from './object-backend.ts';
import { createRecords, type Trust } from './records.ts';
import { createRefs } from './refs.ts';
import { createSnapshots } from './snapshots.ts';
import type { Store } from './store.ts';
import { createViews } from './views.ts';

/** The whole store over any backend; `viewsFolder` is always local. */
export function openStore(backend: ObjectBackend, options: Trust & { viewsFolder: string }): Store {
  const leases = createLeases(backend);
  return {
    location: backend.location,
    artifacts: createArtifacts(backend, createViews(backend, options.viewsFolder)),
    records: createRecords(backend, options),
    refs: createRefs(backend),
    leases,
    snapshots: createSnapshots(backend, leases),
    documents: createDocuments(backend),
  };
}
