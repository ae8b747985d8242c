import { chown, lstat, readdir, lchown } from 'node:fs/promises';
import { join } from 'node:path';

/** The system's user that runs jobs, where it is not the worker's own. */
export interface JobUser {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

/** A new job's folder is made the user's; what links point at is not touched. */
export async function handOver(folder: string, user: Pick<JobUser, 'uid' | 'gid'>): Promise<void> {
  await chown(folder, user.uid, user.gid);
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if ((await lstat(path)).isDirectory()) await handOver(path, user);
    else await lchown(path, user.uid, user.gid);
  }
}
