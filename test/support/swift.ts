import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './built.ts';
import { freePort } from './free-port.ts';
import { startOnce, type S3Server } from './radosgw.ts';

/** What is missing here for a second S3, which refuses what radosgw takes; undefined when nothing is. */
export function swiftIsMissing(): string | undefined {
  const hasSwift = existsSync(join(root, '.fretsaw', 'swift-venv', 'fretsaw-stamp'));
  const hasMemcached = spawnSync('which', ['memcached'], { stdio: 'ignore' }).status === 0;
  return hasSwift && hasMemcached ? undefined : 'no Swift here (npm run setup -- --system)';
}

export async function startSwift(): Promise<S3Server> {
  const ports = (): Promise<number[]> => Promise.all(Array.from({ length: 5 }, freePort));
  const { endpoint } = await startOnce('swift', ports);
  return { endpoint, accessKeyId: 'test:tester', secretAccessKey: 'testing' };
}
