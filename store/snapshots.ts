import { artifactTypes } from '../core/artifact.ts';
import { isDigest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';
import { generationsOf, readText } from './generations.ts';
import type { ObjectBackend } from './object-backend.ts';
import { objectNames } from './object-names.ts';
import { exactKeys, parseStored, storedObject } from './stored-json.ts';
import type { Leases, Snapshots, StoredSnapshot } from './store.ts';

export function createSnapshots(backend: ObjectBackend, leases: Leases): Snapshots {
  return {
    async list(key) {
      const snapshots: StoredSnapshot[] = [];
      const folder = objectNames.snapshot(key);
      for (const attempt of await generationsOf(backend, folder)) {
        for (const step of await generationsOf(backend, `${folder}/${attempt}`)) {
          const text = await readText(backend, `${folder}/${attempt}/${step}`);
          if (text !== undefined) snapshots.push(parseSnapshot(text, { key, attempt, step }));
        }
      }
      return snapshots.sort((a, b) => b.step - a.step || b.attempt - a.attempt);
    },
    async create(snapshot) {
      const { schema, key, attempt, step, artifact, state, createdAt } = snapshot;
      const holder = await leases.latest(key);
      if (holder !== undefined && holder.attempt > attempt) {
        throw new Failure(
          'LEASE_LOST',
          `snapshot of attempt ${attempt}: attempt ${holder.attempt} holds ${key}`,
        );
      }
      const name = nameOf(snapshot);
      const text = `${JSON.stringify({ schema, key, attempt, step, artifact, state, createdAt })}\n`;
      if (await backend.create(name, Buffer.from(text, 'utf8'))) return;
      const first = parseSnapshot((await readText(backend, name)) ?? '', { key, attempt, step });
      if (first.artifact.digest === artifact.digest) return;
      throw new Failure(
        'DIGEST_MISMATCH',
        `${name}: expected ${first.artifact.digest}, which was stored first; found ${artifact.digest}`,
      );
    },
    async remove(snapshot) {
      await backend.remove([nameOf(snapshot)]);
    },
  };
}

function nameOf({ key, attempt, step }: { key: StageKey; attempt: number; step: number }): string {
  return `${objectNames.snapshot(key)}/${attempt}/${step}`;
}

function parseSnapshot(
  text: string,
  named: { key: StageKey; attempt: number; step: number },
): StoredSnapshot {
  const { key, attempt, step } = named;
  const where = `snapshot ${step} of attempt ${attempt} of ${key}`;
  const raw = exactKeys(
    parseStored(text, 'fretsaw/snapshot-record/v1', where),
    ['schema', 'key', 'attempt', 'step', 'artifact', 'state', 'createdAt'],
    where,
  );
  const { digest, type, sizeBytes } = exactKeys(raw['artifact'], ['digest', 'type', 'sizeBytes'], where);
  const knownType = artifactTypes.find((known) => known === type);
  const isNamed = raw['key'] === key && raw['attempt'] === attempt && raw['step'] === step;
  if (
    !isNamed ||
    knownType === undefined ||
    typeof digest !== 'string' ||
    !isDigest(digest) ||
    typeof sizeBytes !== 'number' ||
    typeof raw['createdAt'] !== 'string'
  ) {
    throw new Failure('CORRUPT', `${where}: not a snapshot of this name`);
  }
  return {
    schema: 'fretsaw/snapshot-record/v1',
    key,
    attempt,
    step,
    artifact: { digest, type: knownType, sizeBytes },
    state: { ...storedObject(raw['state'], where) },
    createdAt: raw['createdAt'],
  };
}
