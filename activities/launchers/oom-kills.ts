import { readFileSync } from 'node:fs';

/**
 * Processes that this host's kernel has killed for want of memory since it booted; undefined where
 * the kernel does not count. A job killed by signal 9 while this number rose ran out of memory.
 * @see /proc/vmstat: oom_kill (Linux 4.13)
 */
export function countOomKills(): number | undefined {
  try {
    const found = /^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'utf8'))?.[1];
    return found === undefined ? undefined : Number(found);
  } catch {
    return undefined;
  }
}
