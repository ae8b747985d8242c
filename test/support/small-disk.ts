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
