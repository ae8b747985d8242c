import { fork } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  isAlive,
  signalGroup,
  type ProcessIdentity,
} from '../../../activities/launchers/process-identity.ts';
import type { SpawnRequest } from '../../../activities/launchers/spawner-process.ts';
import { programPaths } from '../../../workers/worker-settings.ts';
import { ensureBuilt, root } from '../../support/built.ts';

let folder: string;
beforeEach(async () => {
  await ensureBuilt();
  folder = mkdtempSync(join(tmpdir(), 'fretsaw-spawner-'));
}, 120_000);
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

test(
  'a job whose worker is gone before it hears of it is noted, and can be found',
  { timeout: 60_000 },
  async () => {
    const note = join(folder, 'process.json');
    const request: SpawnRequest = {
      id: 1,
      argv: ['sleep', '60'],
      cwd: folder,
      env: { PATH: process.env['PATH'] ?? '' },
      log: join(folder, 'log'),
      note,
    };
    const spawner = fork(programPaths.spawner(root), [], { execArgv: [] });
    const gone = new Promise((resolve) => spawner.once('exit', resolve));
    await new Promise((answered) => {
      spawner.once('message', answered);
      spawner.send({ ...request, id: 0, argv: ['true'], note: join(folder, 'first.json') });
    });
    // As when this process is killed: nobody reads the answer.
    spawner.send(request, () => {
      spawner.disconnect();
    });
    await gone;
    while (!existsSync(note)) await sleep(20);
    const identity = JSON.parse(readFileSync(note, 'utf8')) as ProcessIdentity;
    expect(isAlive(identity)).toBe(true);
    signalGroup(identity.pid, 'SIGKILL');
  },
);
