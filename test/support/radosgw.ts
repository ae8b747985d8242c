import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withLock } from '../../workers/home-lock.ts';
import { root } from './built.ts';
import { freePort } from './free-port.ts';

const programs = ['radosgw', 'radosgw-admin', 'ceph-mon', 'ceph-osd', 'ceph', 'uuidgen', 'curl', 'setsid'];

/** A real S3, shared by all test files of a run and started by the first that asks. */
export interface S3Server {
  endpoint: string;
  /** Keys of the user that owns what tests make. */
  accessKeyId: string;
  secretAccessKey: string;
}

export interface Radosgw extends S3Server {
  folder: string;
}

/** What is missing here for a real S3; undefined when nothing is. In CI nothing may be. */
export function radosgwIsMissing(): string | undefined {
  const absent = programs.filter((name) => spawnSync('which', [name], { stdio: 'ignore' }).status !== 0);
  const isRoot = process.getuid?.() === 0;
  if (absent.length === 0 && isRoot) return undefined;
  const why = absent.length > 0 ? `${absent.join(', ')} not installed` : 'it needs root';
  if (process.env['CI'] === 'true')
    throw new Error(`CI runs the S3 suites: ${why} (npm run setup -- --system)`);
  return why;
}

export async function startRadosgw(): Promise<Radosgw> {
  const { endpoint, folder } = await startOnce('s3', async () => [await freePort(), await freePort()]);
  return { endpoint, accessKeyId: 'fretsaw-test', secretAccessKey: 'fretsaw-secret', folder };
}

/** `infra/dev/<name>/start.sh`, once for all test files of a run; global-setup.ts stops it. */
export async function startOnce(
  name: string,
  ports: () => Promise<number[]>,
): Promise<{ endpoint: string; folder: string }> {
  const folder = join(process.env['FRETSAW_TEST_RUN'] ?? '', name);
  const state = join(folder, 'endpoint');
  await withLock(folder, async () => {
    if (existsSync(state)) return;
    mkdirSync(folder, { recursive: true });
    const { stdout } = await promisify(execFile)(
      join(root, 'infra', 'dev', name, 'start.sh'),
      [folder, ...(await ports()).map(String)],
      { timeout: 400_000 },
    );
    writeFileSync(state, stdout.trim());
  });
  return { endpoint: readFileSync(state, 'utf8'), folder };
}

/** Another user of the service, who owns nothing. Takes a second: it is an administrator's program. */
export async function addUser({ folder, endpoint }: Radosgw, name: string): Promise<S3Server> {
  const keys = { accessKeyId: `key-of-${name}`, secretAccessKey: `secret-of-${name}` };
  const user = ['user', 'create', '--uid', name, '--display-name', name];
  await promisify(execFile)('radosgw-admin', [
    ...['-c', join(folder, 'ceph.conf'), '-n', 'client.admin', ...user],
    ...['--access-key', keys.accessKeyId, '--secret', keys.secretAccessKey],
  ]);
  return { ...keys, endpoint };
}
