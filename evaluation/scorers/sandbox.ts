import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { Failure } from '../../core/errors.ts';

export interface SandboxLimits {
  seconds: number;
  memoryMiB: number;
}

export type SandboxEnd =
  | { kind: 'passed' }
  /** Another exit than 0, with the last of what it wrote. */
  | { kind: 'failed'; message: string }
  | { kind: 'timeout' };

const diskMiB = 32;
const processes = 64;
const nobody = '65534';

/**
 * Runs Python that nobody vouches for: its own user, no network, a read-only file system but for a small /tmp in memory, limits on
 * time, memory, processes and file size; when the time is over everything that it started dies with its namespace.
 * bubblewrap does it (https://github.com/containers/bubblewrap).
 */
export async function runPython(code: string, { seconds, memoryMiB }: SandboxLimits): Promise<SandboxEnd> {
  requireSandbox();
  // Limits on processes do not hold for root.
  const asNobody =
    process.getuid?.() === 0
      ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', '--']
      : [];
  const limits = [
    'prlimit',
    `--as=${memoryMiB * 2 ** 20}`,
    `--cpu=${Math.ceil(seconds)}`,
    `--nproc=${processes}`,
    `--fsize=${diskMiB * 2 ** 20}`,
    '--core=0',
    '--',
  ];
  const walls = [
    ...['bwrap', '--unshare-all', '--die-with-parent', '--new-session', '--clearenv'],
    ...['--setenv', 'PATH', '/usr/bin:/bin', '--ro-bind', '/usr', '/usr'],
    ...['/bin', '/lib', '/lib64', '/etc/alternatives'].flatMap((path) => ['--ro-bind-try', path, path]),
    ...['--proc', '/proc', '--dev', '/dev', '--size', String(diskMiB * 2 ** 20), '--tmpfs', '/tmp'],
    ...['--chdir', '/tmp', '--'],
  ];
  return await run([...asNobody, ...walls, ...limits, 'python3', '-I', '-'], { code, seconds });
}

/** Code that is not walled in is not run: BAD_INPUT. */
export function requireSandbox(): void {
  const missing = ['bwrap', 'prlimit', 'python3'].filter((name) => !isInstalled(name));
  if (missing.length > 0)
    throw new Failure(
      'BAD_INPUT',
      `scoring code needs ${missing.join(', ')} on this host (Debian: bubblewrap)`,
    );
}

export function isInstalled(name: string): boolean {
  return ['/usr/bin', '/bin', '/usr/local/bin'].some((folder) => existsSync(`${folder}/${name}`));
}

function run(
  argv: readonly string[],
  { code, seconds }: { code: string; seconds: number },
): Promise<SandboxEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn('env', argv, { stdio: ['pipe', 'ignore', 'pipe'], detached: true });
    let told = '';
    let isLate = false;
    child.stderr.on('data', (part: Buffer) => {
      told = (told + part.toString()).slice(-500);
    });
    const timer = setTimeout(() => {
      isLate = true;
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, seconds * 1000);
    child.once('error', reject);
    child.once('close', (status) => {
      clearTimeout(timer);
      if (isLate) resolve({ kind: 'timeout' });
      else if (status === 0) resolve({ kind: 'passed' });
      else if (told.startsWith('bwrap:'))
        reject(new Failure('BAD_INPUT', `no sandbox on this host: ${told.trim()}`));
      else resolve({ kind: 'failed', message: told.trim() });
    });
    // Code that ends before it has read everything closes the pipe.
    child.stdin.on('error', () => undefined);
    child.stdin.end(code);
  });
}
