import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobFolder } from '../job-folder.ts';

/** What the job's own process wrote, then one file for each rank. */
export async function listLogs(folder: JobFolder): Promise<string[]> {
  return [folder.log, ...(await listRankLogs(folder))];
}

/** torchrun's `<run>/attempt_0/<rank>/{stdout,stderr}.log`, below a folder a node where there are several. */
async function listRankLogs(folder: JobFolder): Promise<string[]> {
  const names = await readdir(folder.ranks, { recursive: true }).catch(() => []);
  const logs = names.filter((name) => /\d+\/(stdout|stderr)\.log$/.test(name)).sort();
  return logs.map((name) => join(folder.ranks, name));
}
