import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Work } from './execute-stage.ts';
import type { JobFolder } from './job-folder.ts';

/**
 * Puts the snapshots that a job has finished into the store, oldest first. LEASE_LOST when a higher
 * attempt holds the key: then the job is to be stopped.
 */
export async function uploadSnapshots({ deps, request }: Work, folder: JobFolder): Promise<void> {
  const local = await folder.listSnapshots();
  if (local.length === 0) return;
  const stored = await deps.store.snapshots.list(request.key);
  const known = new Set(stored.filter((s) => s.attempt === folder.attempt).map((s) => s.step));
  for (const { step, path } of local.reverse()) {
    if (known.has(step)) continue;
    const artifact = await deps.store.artifacts.putFolder(path, { type: 'folder' });
    await deps.store.snapshots.create({
      schema: 'fretsaw/snapshot-record/v1',
      key: request.key,
      attempt: folder.attempt,
      step,
      artifact,
      state: await readState(path),
      createdAt: new Date().toISOString(),
    });
  }
}

async function readState(path: string): Promise<Record<string, unknown>> {
  const document = JSON.parse(await readFile(join(path, 'snapshot.json'), 'utf8')) as {
    state?: Record<string, unknown>;
  };
  return document.state ?? {};
}
