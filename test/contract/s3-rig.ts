import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openS3Store } from '../../store/open-s3-store.ts';
import { createS3Backend } from '../../store/s3/s3-backend.ts';
import { probeServer } from '../../store/s3/probe-server.ts';
import { connectS3, type ConnectionOptions, type S3Connection } from '../../store/s3/s3-connection.ts';
import { putNew } from '../../store/s3/write-objects.ts';
import { parseS3Location, type S3Location } from '../../store/s3/s3-location.ts';
import { startRadosgw, type S3Server } from '../support/radosgw.ts';
import type { BackendRig } from './backend-contract.ts';
import type { StoreRig } from './store-rig.ts';

/** A bucket of one test on the S3 of this run. */
export interface Bucket {
  server: S3Server;
  name: string;
  place: S3Location;
  connection: S3Connection;
  connect(options?: ConnectionOptions & { place?: Partial<S3Location> }): S3Connection;
}

export function credentialsOf({ accessKeyId, secretAccessKey }: S3Server): {
  accessKeyId: string;
  secretAccessKey: string;
} {
  return { accessKeyId, secretAccessKey };
}

/** What a service honours, found out once in the process instead of once in each bucket. */
const honours = new Map<string, Promise<Uint8Array>>();

function honoursOf(connection: S3Connection, { endpoint }: S3Server): Promise<Uint8Array> {
  const known =
    honours.get(endpoint) ?? probeServer(connection).then((found) => Buffer.from(JSON.stringify(found)));
  honours.set(endpoint, known);
  return known;
}

/** `options` are those of a store's location: `allow=non-atomic-create`. */
export async function makeBucket(
  start: () => Promise<S3Server> = startRadosgw,
  options: Record<string, string> = {},
): Promise<Bucket> {
  const server = await start();
  const name = `test-${randomBytes(6).toString('hex')}`;
  const query = new URLSearchParams({ endpoint: server.endpoint, ...options });
  const place = parseS3Location(`s3://${name}/some/prefix?${query.toString()}`);
  const connect: Bucket['connect'] = ({ place: changes, ...options } = {}) =>
    connectS3({ ...place, ...changes }, { credentials: credentialsOf(server), ...options });
  const connection = connect();
  await connection.call('making a bucket', ({ sdk, client }) =>
    client.send(new sdk.CreateBucketCommand({ Bucket: name })),
  );
  await putNew(connection, { name: 'server/1', bytes: await honoursOf(connection, server) });
  return { server, name, place, connection, connect };
}

export async function openS3BackendRig(): Promise<BackendRig> {
  const { connection } = await makeBucket();
  const spoolFolder = mkdtempSync(join(tmpdir(), 'fretsaw-spool-'));
  return {
    open: () => createS3Backend({ connection, spoolFolder }),
    dispose: async () => {
      rmSync(spoolFolder, { recursive: true, force: true });
    },
  };
}

export async function openS3StoreRig(made: Promise<Bucket> = makeBucket()): Promise<StoreRig> {
  const { connection, server, place } = await made;
  const home = mkdtempSync(join(tmpdir(), 'fretsaw-s3-'));
  const backend = createS3Backend({ connection, spoolFolder: join(home, 'spool') });
  return {
    open: (trust = { domain: 'local', trusted: [] }) =>
      openS3Store(place, { home, ...trust, connection: { credentials: credentialsOf(server) } }),
    objects: (folder) => backend.list(folder),
    read: async (name) => (await backend.get(name)) ?? new Uint8Array(),
    damage: async (name, change) => {
      const bytes = change(Buffer.from((await backend.get(name)) ?? new Uint8Array()));
      await backend.remove([name]);
      rmSync(join(home, 'cache', name), { force: true });
      await backend.createMany([{ name, content: bytes, sha256: 'UNSIGNED-PAYLOAD' }]);
    },
    remove: async (name) => {
      await backend.remove([name]);
      rmSync(join(home, 'cache', name), { force: true });
    },
    forgetLocal: async () => {
      for (const folder of ['index', 'cache']) rmSync(join(home, folder), { recursive: true, force: true });
    },
    dispose: async () => {
      rmSync(home, { recursive: true, force: true });
    },
  };
}
