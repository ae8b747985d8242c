import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** A file system of its own at `<below>/mounted`, which takes root; undefined where that is not to be had. */
export function mountSmall(
  below: string,
  sizeKib: number,
): { path: string; remount: (option: string) => void; unmount: () => void } | undefined {
  const path = join(below, 'mounted');
  mkdirSync(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeKib}k`, 'tmpfs', path], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  return {
    path,
    remount: (option) => execFileSync('mount', ['-o', `remount,${option}`, path], { stdio: 'ignore' }),
    unmount: () => execFileSync('umount', ['-l', path], { stdio: 'ignore' }),
  };
}

/** An xfs of its own, whose files can share blocks (reflink), at `<below>/xfs`; undefined where that is not to be had. */
export function mountXfs(below: string): { path: string; unmount: () => void } | undefined {
  const path = join(below, 'xfs');
  mkdirSync(path);
  // The least that mkfs.xfs makes.
  const mkfs = ['mkfs.xfs', '-q', '-m', 'reflink=1'];
  if (!mountImage(path, { image: join(below, 'xfs.image'), sizeMib: 320, mkfs })) return undefined;
  return {
    path,
    unmount: () => {
      execFileSync('umount', [path], { stdio: 'ignore' });
    },
  };
}

/** A new file system in a file, on a loop device; false where that is not to be had. */
export function mountImage(
  path: string,
  { image, sizeMib, mkfs: [program = '', ...args] }: { image: string; sizeMib: number; mkfs: string[] },
): boolean {
  return (
    tryRun('truncate', '-s', `${sizeMib}M`, image) &&
    tryRun(program, ...args, image) &&
    tryRun('mount', '-o', 'loop', image, path)
  );
}

export function tryRun(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
