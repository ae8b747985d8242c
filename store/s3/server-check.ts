import { Failure } from '../../core/errors.ts';
import { parseStored } from '../stored-json.ts';
import { listPages } from './list-objects.ts';
import { probeServer, type ServerHonours } from './probe-server.ts';
import { readObject } from './read-objects.ts';
import type { S3Connection } from './s3-connection.ts';
import { putNew } from './write-objects.ts';

/** What is right only when exactly one of many creators is told that it was first. */
const needsAtomicCreate = /^(records|refs|leases)\//;

export interface ServerCheck {
  /** Throws STORE_UNAVAILABLE when this name must not be created on a service like this. */
  check(name: string): Promise<void>;
}

/** Looked up once in the store, or found out and written there, by whoever comes first. */
export function createServerCheck(connection: S3Connection): ServerCheck {
  let known: Promise<ServerHonours> | undefined;
  return {
    async check(name) {
      if (!needsAtomicCreate.test(name) || connection.place.allowsNonAtomicCreate) return;
      known ??= knownServer(connection);
      const { createOnly } = await known.catch((error: unknown) => {
        known = undefined;
        throw error;
      });
      if (createOnly === 'atomic') return;
      throw new Failure(
        'STORE_UNAVAILABLE',
        `${name}: of several writers at once more than one may be told that it was first here ` +
          `(create-only PUT: ${createOnly}); a store that accepts that says allow=non-atomic-create`,
        { retryable: false },
      );
    },
  };
}

/** What the store says of its service, else what is found out now and kept. */
export async function knownServer(connection: S3Connection): Promise<ServerHonours> {
  return (await readServer(connection)) ?? (await probeAndKeep(connection));
}

/** `server/<n>`: the highest holds, as with everything that has generations. */
export async function readServer(connection: S3Connection): Promise<ServerHonours | undefined> {
  const newest = Math.max(0, ...(await generations(connection)));
  if (newest === 0) return undefined;
  const bytes = await readObject(connection, `server/${newest}`);
  if (bytes === undefined) return undefined;
  return parseServer(Buffer.from(bytes).toString('utf8'), `server/${newest}`);
}

export async function probeAndKeep(connection: S3Connection): Promise<ServerHonours> {
  const honours = await probeServer(connection);
  const next = Math.max(0, ...(await generations(connection))) + 1;
  await putNew(connection, { name: `server/${next}`, bytes: Buffer.from(`${JSON.stringify(honours)}\n`) });
  return honours;
}

async function generations(connection: S3Connection): Promise<number[]> {
  const found: number[] = [];
  for await (const { objects } of listPages(connection, { prefix: 'server/' }))
    found.push(
      ...objects.map(({ name }) => Number(name.slice('server/'.length))).filter(Number.isSafeInteger),
    );
  return found;
}

function parseServer(text: string, where: string): ServerHonours {
  const raw = parseStored(text, 'fretsaw/server/v1', where);
  const { createOnly, payloadHash, checksums } = raw;
  const isKnown =
    (createOnly === 'atomic' || createOnly === 'in-sequence' || createOnly === 'ignored') &&
    (payloadHash === 'refused' || payloadHash === 'accepted') &&
    typeof checksums === 'object';
  if (!isKnown) throw new Failure('CORRUPT', `${where}: not what is known of a server`);
  return raw as unknown as ServerHonours;
}
