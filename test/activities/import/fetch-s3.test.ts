import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchS3 } from '../../../activities/import/fetch-s3.ts';
import type { FetchTarget } from '../../../activities/import/fetch.ts';
import type { ImportSource } from '../../../activities/import/import-artifact.ts';
import { putNew } from '../../../store/s3/write-objects.ts';
import { credentialsOf, makeBucket, type Bucket } from '../../contract/s3-rig.ts';
import { radosgwIsMissing } from '../../support/radosgw.ts';

const weights = Buffer.alloc((17 << 20) + 3, 'weights ');

describe.skipIf(radosgwIsMissing() !== undefined)('an import from S3', { timeout: 60_000 }, () => {
  let bucket: Bucket;
  let folder: string;
  let beats: { file?: string; bytes?: number }[];
  beforeEach(async () => {
    bucket = await makeBucket();
    folder = mkdtempSync(join(tmpdir(), 'fretsaw-import-'));
    beats = [];
  }, 300_000);
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const source = (below: string): ImportSource => ({
    type: 'checkpoint',
    location: `s3://${bucket.name}/some/prefix/${below}?endpoint=${encodeURIComponent(bucket.server.endpoint)}`,
    revision: undefined,
    record: undefined,
    token: undefined,
  });
  const target = (signal = new AbortController().signal): FetchTarget => ({
    folder,
    signal,
    beat: (details) => beats.push(details),
    token: undefined,
  });
  const fetch = (below: string, to = target()) =>
    fetchS3(source(below), to, { credentials: credentialsOf(bucket.server) });
  const put = (name: string, bytes: Uint8Array) => putNew(bucket.connection, { name, bytes });

  it('brings all below a prefix, of any size, and nothing beside it; it says how far it is', async () => {
    await put('parent/model.safetensors', weights);
    await put('parent/sub/config.json', Buffer.from('{}'));
    await put('parent/empty', new Uint8Array());
    await put('parent/sub/', new Uint8Array());
    await put('parent-of-another/config.json', Buffer.from('no'));
    await fetch('parent/');
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    expect(readFileSync(join(folder, 'sub/config.json'), 'utf8')).toBe('{}');
    expect(readdirSync(folder).sort()).toEqual(['empty', 'model.safetensors', 'sub']);
    expect(beats.filter(({ file }) => file === 'model.safetensors').at(-1)?.bytes).toBe(weights.length);
  });

  it('fetches again only what is not whole', async () => {
    await put('parent/a', Buffer.from('aaaa'));
    await put('parent/b', Buffer.from('bbbb'));
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'a'), 'AAAA');
    writeFileSync(join(folder, 'b'), 'b');
    writeFileSync(join(folder, 'b.partial'), 'b');
    await fetch('parent');
    expect(readFileSync(join(folder, 'a'), 'utf8')).toBe('AAAA'); // of the right size: its digest is checked later
    expect(readFileSync(join(folder, 'b'), 'utf8')).toBe('bbbb');
  });

  it('of nothing is NOT_FOUND, and one that is stopped leaves nothing that looks whole', async () => {
    await expect(fetch('nothing')).rejects.toMatchObject({ code: 'NOT_FOUND', retryable: false });
    await put('parent/model.safetensors', weights);
    const stop = new AbortController();
    const beat = (): void => {
      stop.abort();
    };
    const to = { ...target(stop.signal), beat };
    await expect(fetch('parent', to)).rejects.toThrow(/abort/);
    expect(() => statSync(join(folder, 'model.safetensors'))).toThrow();
  });

  it('refuses keys that would be written elsewhere', async () => {
    await put('parent/../../up', Buffer.from('x')).catch(() => undefined);
    await put('parent/a//b', Buffer.from('x'));
    await expect(fetch('parent')).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
  });
});
