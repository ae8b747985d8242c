import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Digest } from '../../core/digest.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { openS3Store } from '../../store/open-s3-store.ts';
import type { Store } from '../../store/store.ts';
import { credentialsOf, makeBucket } from '../contract/s3-rig.ts';
import { moeFile, noise } from '../contract/tensor-file.ts';
import { radosgwIsMissing } from '../support/radosgw.ts';

const script = fileURLToPath(new URL('../../docs/read_store.py', import.meta.url));
let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-read-'));
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

const files = {
  'config.json': Buffer.from('{}'),
  'model.safetensors': moeFile([[1, 2, 3, 4, 5, 6, 7, 8]]),
  'sub/data.jsonl': noise('data', 9 << 20),
};

async function putInto(store: Store): Promise<Digest> {
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(join(home, 'in', path, '..'), { recursive: true });
    writeFileSync(join(home, 'in', path), bytes);
  }
  return (await store.artifacts.putFolder(join(home, 'in'), { type: 'checkpoint' })).digest;
}

function expectAll(folder: string): void {
  for (const [path, bytes] of Object.entries(files))
    expect(readFileSync(join(folder, path)).equals(bytes)).toBe(true);
}

it('docs/read_store.py reads blobs, layouts and packs, and refuses wrong bytes', async () => {
  const store = openDiskStore({ home, domain: 'local', trusted: [] });
  const digest = await putInto(store);
  execFileSync('python3', [script, join(home, 'store'), digest, join(home, 'out')]);
  expectAll(join(home, 'out'));
  const manifest = await store.artifacts.manifest(digest);
  const { sha256 = '' } = manifest?.files.find(({ path }) => path === 'config.json') ?? {};
  const blob = join(home, 'store/blobs/sha256', sha256.slice(0, 2), sha256);
  rmSync(blob);
  writeFileSync(blob, '[]');
  expect(() =>
    execFileSync('python3', [script, join(home, 'store'), digest, join(home, 'bad')], { stdio: 'pipe' }),
  ).toThrow(/wrong bytes/);
});

it.skipIf(boto3IsMissing())(
  'docs/read_store.py reads the same from S3, with boto3',
  { timeout: 300_000 },
  async () => {
    const { place, server } = await makeBucket();
    const credentials = credentialsOf(server);
    const store = openS3Store(place, { home, domain: 'local', trusted: [], connection: { credentials } });
    const digest = await putInto(store);
    execFileSync('python3', [script, `s3://${place.bucket}/${place.prefix}`, digest, join(home, 'out')], {
      env: {
        ...process.env,
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        AWS_REGION: 'us-east-1',
        AWS_ENDPOINT_URL: server.endpoint,
        AWS_ENDPOINT_URL_S3: server.endpoint,
      },
    });
    expectAll(join(home, 'out'));
  },
);

/** In CI set-up installs it (Debian python3-boto3), as it does radosgw. */
function boto3IsMissing(): boolean {
  if (radosgwIsMissing() !== undefined) return true;
  const isThere = spawnSync('python3', ['-c', 'import boto3'], { stdio: 'ignore' }).status === 0;
  if (!isThere && process.env['CI'] === 'true')
    throw new Error('CI runs this: python3-boto3 is not installed');
  return !isThere;
}
