import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openS3Store } from '../../store/open-s3-store.ts';
import type { ObjectBackend } from '../../store/object-backend.ts';
import { createS3Backend } from '../../store/s3/s3-backend.ts';
import type { Store } from '../../store/store.ts';
import { root } from '../support/built.ts';
import { addUser, radosgwIsMissing, startRadosgw, type S3Server } from '../support/radosgw.ts';
import { makeBucket, type Bucket } from '../contract/s3-rig.ts';
import { keyOf, leaseOf, put } from '../contract/store-rig.ts';
import { moeFile } from '../contract/tensor-file.ts';

interface User {
  store: Store;
  backend: ObjectBackend;
}

const denied = {
  code: 'STORE_UNAVAILABLE',
  retryable: false,
  message: expect.stringContaining('no permission') as string,
};

describe.skipIf(radosgwIsMissing() !== undefined)(
  'the policies in infra/iam, on a real S3',
  { timeout: 60_000 },
  () => {
    let bucket: Bucket;
    let folder: string;
    let gpu: User;
    let control: User;
    let reader: User;
    let upkeep: User;
    beforeAll(async () => {
      bucket = await makeBucket();
      folder = mkdtempSync(join(tmpdir(), 'fretsaw-iam-'));
      const suffix = randomBytes(4).toString('hex');
      const statements: object[] = [];
      const user = async (policy: string): Promise<User> => {
        const name = `${policy}-${suffix}`;
        const keys = await addUser(await startRadosgw(), name);
        statements.push(...statementsFor(policy, name, bucket));
        return openAs(bucket, keys, join(folder, policy));
      };
      gpu = await user('gpu-worker');
      control = await user('control-worker');
      reader = await user('reader');
      upkeep = await user('upkeep');
      await bucket.connection.call('setting the policy', ({ sdk, client }) =>
        client.send(
          new sdk.PutBucketPolicyCommand({
            Bucket: bucket.name,
            Policy: JSON.stringify({ Version: '2012-10-17', Statement: statements }),
          }),
        ),
      );
    }, 300_000);
    afterAll(() => {
      rmSync(folder, { recursive: true, force: true });
    });

    const key = keyOf('a stage');
    const snapshotOf = async (store: Store) => ({
      schema: 'fretsaw/snapshot-record/v1' as const,
      key,
      attempt: 1,
      step: 10,
      artifact: await put(store, { state: 'state' }),
      state: {},
      createdAt: '2026-01-01T00:00:00.000Z',
    });

    it('let a GPU worker write bytes, snapshots, leases and notes of attempts', async () => {
      expect(await gpu.store.leases.create(leaseOf(key, 1))).toBe(true);
      await gpu.store.snapshots.create(await snapshotOf(gpu.store));
      expect(await gpu.store.snapshots.list(key)).toHaveLength(1);
      expect(await gpu.store.documents.create('attempts/a/1', 'a note')).toBe(true);
      const great = await gpu.backend.draft();
      await great.write(Buffer.alloc(65 << 20, 'g'));
      await gpu.backend.createMany([{ name: 'packs/gg/great', content: great }]);
      expect(await gpu.backend.head('packs/gg/great')).toEqual({ sizeBytes: 65 << 20 });
      const ref = await put(gpu.store, { weights: 'of a child' });
      expect(await gpu.store.artifacts.missing(ref.digest)).toEqual([]);
      await gpu.store.artifacts.view(ref.digest);
    });

    it('let a GPU worker keep a cut checkpoint, again too, beside garbage collection, which it sees and cannot begin', async () => {
      const checkpoint = join(folder, 'checkpoint');
      mkdirSync(checkpoint);
      writeFileSync(join(checkpoint, 'model.safetensors'), moeFile([[1, 2, 3, 4, 5, 6, 7, 8]]));
      const ref = await gpu.store.artifacts.putFolder(checkpoint, { type: 'checkpoint' });
      expect((await gpu.backend.list('packs')).length).toBeGreaterThan(8);
      expect(await gpu.backend.list('layouts')).toHaveLength(1);
      await gpu.store.artifacts.putFolder(checkpoint, { type: 'checkpoint' });
      expect(await gpu.backend.children(`uses/${ref.digest.slice(7)}`)).toHaveLength(1);
      const options = { roots: async () => [ref.digest], graceMs: 3_600_000, dryRun: false };
      await expect(gpu.store.upkeep.collect(options)).rejects.toMatchObject(denied);
      await expect(gpu.store.upkeep.bury(ref.digest, 'forged')).rejects.toMatchObject(denied);
      await upkeep.store.upkeep.collect(options);
      expect(await gpu.backend.list('gc')).toEqual(['gc/1/begun', 'gc/1/done']);
      const doomed = await put(gpu.store, { a: 'to be removed for good' });
      await upkeep.store.upkeep.bury(doomed.digest, 'a reason');
      expect(await gpu.store.artifacts.missing(doomed.digest)).toEqual(['(tombstone: a reason)']);
      await expect(put(gpu.store, { a: 'to be removed for good' })).rejects.toMatchObject({
        code: 'BAD_INPUT',
      });
    });

    it('let no GPU worker make a hit, move a ref, begin a run or remove anything', async () => {
      await expect(gpu.store.records.create(key, 1, 'forged')).rejects.toMatchObject(denied);
      await expect(gpu.store.refs.create('release/x', 1, 'forged')).rejects.toMatchObject(denied);
      await expect(gpu.store.documents.create('runs/r/plan', 'forged')).rejects.toMatchObject(denied);
      const forged = { name: `records/local/${key.slice(7)}/1`, content: Buffer.from('forged') };
      await expect(gpu.backend.createMany([forged])).rejects.toMatchObject(denied);
      await gpu.backend.createMany([{ name: 'blobs/own', content: Buffer.from('own') }]);
      await expect(gpu.backend.remove(['blobs/own'])).rejects.toMatchObject(denied);
      expect(await control.store.records.latest(key)).toBeUndefined();
      expect(await control.store.records.keys()).toEqual([]);
    });

    it('let a control worker make a hit of what a GPU worker wrote, which that one can neither change nor remove', async () => {
      const made = keyOf('made');
      const ref = await put(gpu.store, { weights: 'made on a GPU' });
      expect(await control.store.artifacts.missing(ref.digest)).toEqual([]);
      expect((await control.store.records.create(made, 1, `makes ${ref.digest}`)).created).toBe(true);
      expect(await gpu.store.records.latest(made)).toMatchObject({ envelope: `makes ${ref.digest}` });
      await expect(gpu.store.records.create(made, 2, 'better')).rejects.toMatchObject(denied);
      const name = `records/local/${made.slice(7)}/1`;
      await expect(gpu.backend.remove([name])).rejects.toMatchObject(denied);
      await expect(control.backend.remove([name])).rejects.toMatchObject(denied);
      await expect(control.backend.remove([`leases/${key.slice(7)}/1`])).rejects.toMatchObject(denied);
    });

    it('let a control worker take broken bytes out of sight', async () => {
      await control.backend.createMany([{ name: 'blobs/broken', content: Buffer.from('broken') }]);
      await control.backend.quarantine('blobs/broken');
      expect(await control.backend.head('blobs/broken')).toBeUndefined();
    });

    it('let a reader read and nothing else', async () => {
      const ref = await put(control.store, { a: 'to be read' });
      expect(Buffer.from(await reader.store.artifacts.readFile(ref.digest, 'a')).toString()).toBe(
        'to be read',
      );
      await expect(put(reader.store, { a: 'written' })).rejects.toMatchObject(denied);
      await expect(reader.backend.remove(['blobs/own'])).rejects.toMatchObject(denied);
    });

    it('let upkeep remove, and end the uploads of others, and move no ref', async () => {
      await control.backend.createMany([{ name: 'packs/old', content: Buffer.from('old') }]);
      await upkeep.backend.remove(['packs/old']);
      expect(await control.backend.head('packs/old')).toBeUndefined();
      await bucket.connection.call('half an upload', ({ sdk, client }) =>
        client.send(
          new sdk.CreateMultipartUploadCommand({
            Bucket: bucket.name,
            Key: bucket.connection.key('packs/half'),
          }),
        ),
      );
      for (const half of await upkeep.backend.unfinished()) await half.abort();
      expect(await upkeep.backend.unfinished()).toEqual([]);
      await expect(upkeep.store.refs.create('release/x', 1, 'moved')).rejects.toMatchObject(denied);
    });
  },
);

/** A bucket policy names whom it is for; an IAM policy is attached to him. The rest is the same. */
function statementsFor(policy: string, user: string, { name, place }: Bucket): object[] {
  const text = readFileSync(join(root, 'infra', 'iam', `${policy}.json`), 'utf8')
    .replaceAll('BUCKET', name)
    .replaceAll('PREFIX', place.prefix);
  const { Statement } = JSON.parse(text) as { Statement: { Sid: string }[] };
  return Statement.map((statement) => ({
    ...statement,
    Sid: `${statement.Sid}-${user}`,
    Principal: { AWS: [`arn:aws:iam:::user/${user}`] },
  }));
}

function openAs(bucket: Bucket, keys: Pick<S3Server, 'accessKeyId' | 'secretAccessKey'>, home: string): User {
  const { accessKeyId, secretAccessKey } = keys;
  const credentials = { accessKeyId, secretAccessKey };
  return {
    store: openS3Store(bucket.place, { home, domain: 'local', trusted: [], connection: { credentials } }),
    backend: createS3Backend({
      connection: bucket.connect({ credentials }),
      spoolFolder: join(home, 'spool'),
    }),
  };
}
