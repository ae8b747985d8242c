import { execFileSync } from 'node:child_process';
import type { JobUser } from '../activities/launchers/job-user.ts';
import { Failure } from '../core/errors.ts';

/** A user of this system by name. Only root can run jobs as another. */
export function findUser(name: string): JobUser {
  if (process.getuid?.() !== 0) {
    throw new Failure('BAD_INPUT', `jobs.user ${name}: only a worker of root can run jobs as another user`);
  }
  let line: string;
  try {
    line = execFileSync('getent', ['passwd', name], { encoding: 'utf8' });
  } catch (cause) {
    throw new Failure('BAD_INPUT', `jobs.user ${name}: this system has no such user`, { cause });
  }
  const [, , uid, gid, , home] = line.trim().split(':');
  return { name, uid: Number(uid), gid: Number(gid), home: home ?? '/' };
}
