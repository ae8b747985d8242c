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
  const [image, path] = [join(below, 'xfs.image'), join(below, 'xfs')];
  mkdirSync(path);
  const run = (program: string, ...args: string[]): void =>
    void execFileSync(program, args, { stdio: 'ignore' });
  try {
    run('truncate', '-s', '320M', image); // the least that mkfs.xfs makes
    run('mkfs.xfs', '-q', '-m', 'reflink=1', image);
    run('mount', '-o', 'loop', image, path);
  } catch {
    return undefined;
  }
  return {
    path,
    unmount: () => {
      run('umount', path);
    },
  };
}
