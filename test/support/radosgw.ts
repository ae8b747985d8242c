import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withLock } from '../../workers/home-lock.ts';
import { root } from './built.ts';
import { freePort } from './free-port.ts';

const programs = ['radosgw', 'radosgw-admin', 'ceph-mon', 'ceph-osd', 'ceph', 'uuidgen', 'curl', 'setsid'];

/** A real S3, shared by all test files of a run and started by the first that asks. */
export interface Radosgw {
  endpoint: string;
  /** Keys of the user that owns what tests make. */
  accessKeyId: string;
  secretAccessKey: string;
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
  const folder = join(process.env['FRETSAW_TEST_RUN'] ?? '', 's3');
  const state = join(folder, 'endpoint');
  await withLock(folder, async () => {
    if (existsSync(state)) return;
    mkdirSync(folder, { recursive: true });
    const [s3, mon] = [await freePort(), await freePort()];
    const { stdout } = await promisify(execFile)(
      join(root, 'infra', 'dev', 's3', 'start.sh'),
      [folder, String(s3), String(mon)],
      { timeout: 400_000 },
    );
    writeFileSync(state, stdout.trim());
  });
  return {
    endpoint: readFileSync(state, 'utf8'),
    accessKeyId: 'fretsaw-test',
    secretAccessKey: 'fretsaw-secret',
    folder,
  };
}

/** Another user of the service, who owns nothing. Takes a second: it is an administrator's program. */
export async function addUser(
  { folder, endpoint }: Radosgw,
  name: string,
): Promise<Pick<Radosgw, 'accessKeyId' | 'secretAccessKey' | 'endpoint'>> {
  const keys = { accessKeyId: `key-of-${name}`, secretAccessKey: `secret-of-${name}` };
  const user = ['user', 'create', '--uid', name, '--display-name', name];
  await promisify(execFile)('radosgw-admin', [
    ...['-c', join(folder, 'ceph.conf'), '-n', 'client.admin', ...user],
    ...['--access-key', keys.accessKeyId, '--secret', keys.secretAccessKey],
  ]);
  return { ...keys, endpoint };
}
