import { randomFillSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { createS3Backend } from '../../store/s3/s3-backend.ts';
import { probeServer } from '../../store/s3/probe-server.ts';
import { sha256Bytes } from '../../store/sha256.ts';
import { describeArtifacts } from '../contract/artifacts-contract.ts';
import { makeBucket, openS3StoreRig, type Bucket } from '../contract/s3-rig.ts';
import { startSwift, swiftIsMissing } from '../support/swift.ts';

/** OpenStack Swift checks what it is told, and has create-only PUTs that are not atomic: the reverse of radosgw. */
describe.skipIf(swiftIsMissing() !== undefined)('on a second S3 (Swift)', { timeout: 60_000 }, () => {
  let bucket: Bucket;
  beforeAll(async () => {
    bucket = await makeBucket(startSwift);
  }, 120_000);

  it('what it honours is found out: wrong bytes are refused, two may be first', async () => {
    expect(await probeServer(bucket.connection)).toMatchObject({
      createOnly: 'in-sequence',
      payloadHash: 'refused',
      checksums: { sha256: 'refused', crc32: 'refused' },
    });
  });

  it('nothing that needs one winner is created, unless the store is opened so', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fretsaw-swift-'));
    const open = ({ place }: Bucket) =>
      createS3Backend({ connection: bucket.connect({ place }), spoolFolder: folder });
    const allowing = { ...bucket, place: { ...bucket.place, allowsNonAtomicCreate: true } };
    for (const name of ['records/local/k/1', 'refs/r/1', 'leases/k/1']) {
      await expect(open(bucket).create(name, Buffer.from('x'))).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        retryable: false,
        message: expect.stringContaining('in-sequence') as string,
      });
      expect(await open(allowing).create(name, Buffer.from('x'))).toBe(true);
      expect(await open(allowing).create(name, Buffer.from('y'))).toBe(false);
    }
    rmSync(folder, { recursive: true, force: true });
  });

  it('bytes that are not those of their name never become an object', async () => {
    const patience = { attempts: 2, firstPauseMs: 1, longestPauseMs: 5, stallMs: 5000 };
    const backend = createS3Backend({ connection: bucket.connect({ patience }), spoolFolder: tmpdir() });
    const bytes = randomFillSync(Buffer.alloc(300_000));
    const name = (content: Buffer): string =>
      `blobs/sha256/${sha256Bytes(content).slice(0, 2)}/${sha256Bytes(content)}`;
    const changed = Buffer.from(bytes);
    changed[1000] = (changed[1000] ?? 0) ^ 1;
    await expect(backend.createMany([{ name: name(bytes), content: changed }])).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
    });
    expect(await backend.head(name(bytes))).toBeUndefined();
    await backend.createMany([{ name: name(bytes), content: bytes }]);
    expect(await backend.head(name(bytes))).toEqual({ sizeBytes: bytes.length });
  });

  describe('the store', () => {
    describeArtifacts(() => openS3StoreRig(makeBucket(startSwift, { allow: 'non-atomic-create' })));
  });
});
