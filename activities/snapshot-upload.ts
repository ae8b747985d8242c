import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoredSnapshot } from '../store/store.ts';
import type { Work } from './execute-stage.ts';
import type { JobFolder } from './job-folder.ts';
import { snapshotsToDrop } from './snapshot-policy.ts';

/**
 * Puts the snapshots that a job has finished into the store, oldest first, and lets go what the
 * stage's policy does not keep. LEASE_LOST when a higher attempt holds the key: then the job is to be
 * stopped.
 */
export async function uploadSnapshots({ deps, request }: Work, folder: JobFolder): Promise<void> {
  const local = await folder.listSnapshots();
  if (local.length === 0) return;
  const stored = await deps.store.snapshots.list(request.key);
  const known = new Set(stored.filter((s) => s.attempt === folder.attempt).map((s) => s.step));
  for (const { step, path } of local.reverse()) {
    if (known.has(step)) continue;
    const artifact = await deps.store.artifacts.putFolder(path, { type: 'folder' });
    const snapshot: StoredSnapshot = {
      schema: 'fretsaw/snapshot-record/v1',
      key: request.key,
      attempt: folder.attempt,
      step,
      artifact,
      state: await readState(path),
      createdAt: new Date().toISOString(),
    };
    await deps.store.snapshots.create(snapshot);
    stored.push(snapshot);
  }
  for (const snapshot of snapshotsToDrop(stored, request.resources)) {
    // Here first: a folder that is left would be stored again.
    if (snapshot.attempt === folder.attempt)
      await rm(folder.snapshot(snapshot.step), { recursive: true, force: true });
    await deps.store.snapshots.remove(snapshot);
  }
}

async function readState(path: string): Promise<Record<string, unknown>> {
  const document = JSON.parse(await readFile(join(path, 'snapshot.json'), 'utf8')) as {
    state?: Record<string, unknown>;
  };
  return document.state ?? {};
}
