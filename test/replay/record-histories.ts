import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { root } from '../support/built.ts';

export interface Recording {
  /** Below test/replay/histories; those of a release are below its version, and stay. */
  folder: string;
  /** What to record; everything when absent. */
  query?: string;
  /** Of each workflow and status. */
  most: number;
}

/** Writes what a server has in mind of its workflows, a file each, named by workflow and status. */
export async function recordHistories({ workflow }: Client, recording: Recording): Promise<void> {
  const folder = join(root, 'test', 'replay', 'histories', recording.folder);
  mkdirSync(folder, { recursive: true });
  const counts = new Map<string, number>();
  for await (const { workflowId, runId, type, status } of workflow.list({ query: recording.query ?? '' })) {
    const shape = `${type}-${status.name.toLowerCase().replaceAll('_', '-')}`;
    const count = (counts.get(shape) ?? 0) + 1;
    counts.set(shape, count);
    if (count > recording.most) continue;
    const history = await workflow.getHandle(workflowId, runId).fetchHistory();
    // Where the program lay when this was recorded is nobody's business.
    const text = historyToJSON(history).replaceAll(root, '/fretsaw');
    writeFileSync(join(folder, `${shape}-${count}.json`), `${text}\n`);
  }
}
