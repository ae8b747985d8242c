import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AttemptLog, attemptsOf } from '../../cli/stage-log.ts';
import { hexOf } from '../../core/digest.ts';
import { writeAttempt } from '../../lineage/attempt.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { attemptNote } from '../lineage/fixtures.ts';
import { keyOf } from '../support/workflow-rig.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-log-'));
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

const key = keyOf('train');
const places = () => ({
  store: openDiskStore({ home, domain: 'local', trusted: [] }),
  work: join(home, 'work'),
  key,
});

function jobFolder(attempt: number): string {
  const folder = join(home, 'work', hexOf(key), String(attempt));
  for (const rank of ['0', '1'])
    mkdirSync(join(folder, 'ranks', 'r', 'attempt_0', rank), { recursive: true });
  writeFileSync(join(folder, 'log'), '');
  return folder;
}

describe('the log of an attempt', () => {
  it('is read on from where it was, whole lines only, with the rank before lines of several ranks', () => {
    const folder = jobFolder(1);
    const [zero, one] = ['0', '1'].map((rank) => join(folder, 'ranks', 'r', 'attempt_0', rank, 'stderr.log'));
    writeFileSync(zero ?? '', 'step 1\nste');
    writeFileSync(one ?? '', 'step 1\n');
    const log = new AttemptLog(places(), 1);
    expect(log.read()).toBe('rank 0: step 1\nrank 1: step 1\n');
    appendFileSync(zero ?? '', 'p 2\n');
    expect(log.read()).toBe('rank 0: step 2\n');
    expect(log.read()).toBe('');
  });

  it('is in the store once the attempt has ended, whichever host it ran on', async () => {
    const at = places();
    const logs = await at.store.artifacts.putFiles(
      new Map([
        ['log', Buffer.from('torchrun says\n')],
        ['events.jsonl', Buffer.from('{}\n')],
        ['ranks/r/attempt_0/0/stderr.log', Buffer.from('zero\n')],
        ['ranks/r/attempt_0/1/stderr.log', Buffer.from('one\n')],
      ]),
      { type: 'folder' },
    );
    const note = attemptNote(3, { outcome: 'failed', failure: { code: 'NAN_LOSS', message: 'nan' } });
    await writeAttempt(at.store.documents, {
      schema: 'fretsaw/attempt/v1',
      key,
      run: 'r',
      stage: 'train',
      ...note,
      logs,
    });
    expect(await attemptsOf(at)).toEqual([3]);
    const log = new AttemptLog(at, 3);
    expect(log.isHere).toBe(false);
    expect(await log.readStored()).toBe('torchrun says\nrank 0: zero\nrank 1: one\n');
  });
});
