import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { Failure } from '../../core/errors.ts';

export interface SandboxLimits {
  seconds: number;
  memoryMiB: number;
}

export type SandboxEnd =
  | { kind: 'passed' }
  /** Another exit than 0, or one before its end, with the last of what it wrote. */
  | { kind: 'failed'; message: string }
  | { kind: 'timeout' };

const diskMiB = 32;
const processes = 64;
const nobody = '65534';

/**
 * Runs Python that nobody vouches for: its own user, no network, a read-only file system but for a small /tmp in memory, limits on
 * time, memory, processes and file size; when the time is over everything that it started dies with its namespace.
 * bubblewrap does it (https://github.com/containers/bubblewrap). Passed is what reached its last line, where it says a word
 * drawn for this run: code that exits before its tests has not passed them.
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
  const word = randomUUID();
  // Straight to the pipe, after what the code itself still had in its buffer.
  const last = `__import__('sys').__stdout__.flush(); __import__('os').write(1, b'${word}')`;
  const whole = `${code}\n\n${last}\n`;
  return await run([...asNobody, ...walls, ...limits, 'python3', '-I', '-'], { code: whole, seconds, word });
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
  { code, seconds, word }: { code: string; seconds: number; word: string },
): Promise<SandboxEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn('env', argv, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    let told = '';
    let written = '';
    child.stdout.on('data', (part: Buffer) => {
      written = (written + part.toString('latin1')).slice(-4096);
    });
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
      else if (status === 0 && written.includes(word)) resolve({ kind: 'passed' });
      else if (status === 0) resolve({ kind: 'failed', message: 'it ended before its last line' });
      else if (told.startsWith('bwrap:'))
        reject(new Failure('BAD_INPUT', `no sandbox on this host: ${told.trim()}`));
      else resolve({ kind: 'failed', message: told.trim() });
    });
    // Code that ends before it has read everything closes the pipe.
    child.stdin.on('error', () => undefined);
    child.stdin.end(code);
  });
}
