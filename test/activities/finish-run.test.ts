import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ActivityDeps } from '../../activities/deps.ts';
import { finishRun } from '../../activities/finish-run.ts';
import { listFinished } from '../../lineage/run.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { artifact, keyOf, runRequest } from '../support/workflow-rig.ts';

it('writes down how each stage ended, and why', async () => {
  const home = mkdtempSync(join(tmpdir(), 'fretsaw-finish-'));
  try {
    const store = openDiskStore({ home, domain: 'local', trusted: [] });
    const told: unknown[] = [];
    const deps = { store, notifier: async (notice: unknown) => void told.push(notice) };
    const request = runRequest();
    await finishRun(deps as unknown as ActivityDeps, {
      request,
      summary: {
        run: request.run,
        state: 'failed',
        counts: { cached: 0, ran: 1, failed: 1, cancelled: 0, blocked: 1 },
        problems: [],
      },
      finishedAt: '2026-01-01T00:00:00.000Z',
      outcomes: [
        ['a', { kind: 'ran', key: keyOf('a'), outputs: { out: artifact('a') }, attempts: 1 }],
        ['b', { kind: 'failed', key: keyOf('b'), code: 'NAN_LOSS', message: 'loss is NaN', attempts: 2 }],
        ['c', { kind: 'blocked', by: 'b' }],
      ],
    });
    const [finished] = await listFinished(store.documents, request.run);
    expect(finished).toMatchObject({ state: 'failed' });
    expect(finished?.stages).toMatchObject([
      { stage: 'a', outcome: 'ran', key: keyOf('a'), outputs: { out: artifact('a') } },
      {
        stage: 'b',
        outcome: 'failed',
        key: keyOf('b'),
        failure: { code: 'NAN_LOSS', message: 'loss is NaN' },
      },
      { stage: 'c', outcome: 'blocked', blockedBy: 'b' },
    ]);
    expect(told).toHaveLength(1);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
