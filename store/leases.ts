import { Failure } from '../core/errors.ts';
import { latestGeneration } from './generations.ts';
import type { ObjectBackend } from './object-backend.ts';
import { objectNames } from './object-names.ts';
import { exactKeys, parseStored } from './stored-json.ts';
import type { Lease, Leases } from './store.ts';
import type { StageKey } from '../core/keys.ts';

export function createLeases(backend: ObjectBackend): Leases {
  return {
    async latest(key) {
      const found = await latestGeneration(backend, objectNames.lease(key));
      return found === undefined ? undefined : parseLease(found.text, key);
    },
    /** Equal bytes are no excuse here: exactly one caller may think that the attempt is its own. */
    create: (lease) => {
      const { schema, key, attempt, holder, createdAt } = lease;
      const text = `${JSON.stringify({ schema, key, attempt, holder, createdAt })}\n`;
      return backend.create(`${objectNames.lease(key)}/${attempt}`, Buffer.from(text, 'utf8'));
    },
  };
}

function parseLease(text: string, key: StageKey): Lease {
  const where = `lease of ${key}`;
  const raw = exactKeys(
    parseStored(text, 'fretsaw/lease/v1', where),
    ['schema', 'key', 'attempt', 'holder', 'createdAt'],
    where,
  );
  const { run, host, pid } = exactKeys(raw['holder'], ['run', 'host', 'pid'], where);
  const { attempt, createdAt } = raw;
  if (
    raw['key'] !== key ||
    typeof attempt !== 'number' ||
    typeof createdAt !== 'string' ||
    typeof run !== 'string' ||
    typeof host !== 'string' ||
    typeof pid !== 'number'
  ) {
    throw new Failure('CORRUPT', `${where}: not a lease of this key`);
  }
  return { schema: 'fretsaw/lease/v1', key, attempt, holder: { run, host, pid }, createdAt };
}
