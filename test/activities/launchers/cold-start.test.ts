import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { JobFolder } from '../../../activities/job-folder.ts';
import { LocalLauncher } from '../../../activities/launchers/local.ts';
import { Spawner } from '../../../activities/launchers/spawner.ts';
import { WarmEngine } from '../../../activities/launchers/warm-engine.ts';
import { LiveView } from '../../../cli/live-view.ts';
import { digestFromHex } from '../../../core/digest.ts';
import type { StageKey } from '../../../core/keys.ts';
import { programPaths } from '../../../workers/worker-settings.ts';
import { ensureBuilt } from '../../support/built.ts';
import { compileTexts, planOf, sha256 } from '../../support/compile-file.ts';
import { textTerminal } from '../../support/text-terminal.ts';

const root = new URL('../../../', import.meta.url).pathname;
const key = digestFromHex(sha256('cold')) as StageKey;
let home: string;
let spawner: Spawner;
let warmEngine: WarmEngine;

beforeEach(async () => {
  await ensureBuilt();
  home = mkdtempSync(join(tmpdir(), 'fretsaw-cold-'));
  spawner = new Spawner(programPaths.spawner(root));
  // A Python that is broken: it ends at once, as one does whose packages do not fit together.
  warmEngine = new WarmEngine({ python: '/bin/false', env: {}, log: join(home, 'worker.log') });
});
afterEach(() => {
  warmEngine.close();
  spawner.close();
  rmSync(home, { recursive: true, force: true });
});

it('starts an engine job by itself when the warm engine does not come up, and tells the user why', async () => {
  const folder = new JobFolder(home, key, 1);
  mkdirSync(folder.path, { recursive: true });
  const launcher = new LocalLauncher({ spawner, warmEngine });
  await launcher.start(folder, {
    runner: 'engine',
    argv: ['/bin/echo', 'at work'],
    env: {},
    secrets: {},
    cwd: folder.path,
    ranks: 1,
    resources: { cpus: 1, gpus: 0 },
  });
  await launcher.wait(folder, 20_000);
  expect(readFileSync(folder.log, 'utf8')).toBe('at work\n');
  expect(readFileSync(folder.cold, 'utf8')).toContain('the warm engine ended with code 1');

  const { terminal, said } = textTerminal({ heard: 'all' });
  const plan = planOf(
    compileTexts({
      'a.yaml':
        'fretsaw: v1\nname: a\nstages:\n  one: { kind: command, with: { argv: [cp], outputs: { out: out } } }\n',
    }),
  );
  const view = new LiveView(plan, terminal, home);
  view.set('one', { kind: 'running', key });
  view.draw();
  view.draw();
  expect(said()).toContain('engine jobs start cold');
  expect(said()).toContain(join(home, 'worker.log'));
  expect(said().match(/start cold/g)).toHaveLength(1);
});
