import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readFirstFailure } from '../../../activities/job-events.ts';
import { JobFolder } from '../../../activities/job-folder.ts';
import { LocalLauncher } from '../../../activities/launchers/local.ts';
import { Spawner } from '../../../activities/launchers/spawner.ts';
import { TorchrunLauncher } from '../../../activities/launchers/torchrun.ts';
import { programPaths } from '../../../workers/worker-settings.ts';
import { ensureBuilt, root } from '../../support/built.ts';
import { keyOf } from '../../support/workflow-rig.ts';
import { emptyJob } from '../../support/job-file.ts';

let folder: string;
let spawner: Spawner;
beforeEach(async () => {
  await ensureBuilt();
  folder = mkdtempSync(join(tmpdir(), 'fretsaw-torchrun-'));
  spawner = new Spawner(programPaths.spawner(root));
}, 120_000);
afterEach(() => {
  spawner.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A job of two ranks, and its launcher, under an interpreter of one's own choice. */
async function start(python: string): Promise<{ launcher: TorchrunLauncher; job: JobFolder }> {
  writeModule(join(folder, 'fretsaw_engine'));
  const launcher = new TorchrunLauncher(new LocalLauncher({ spawner }), python);
  const job = new JobFolder(join(folder, 'work'), keyOf('job'), 1);
  await job.prepare(emptyJob(job, { key: keyOf('job'), kind: 'distill' }));
  await launcher.start(job, {
    runner: 'engine',
    argv: [],
    secrets: {},
    env: { PATH: process.env['PATH'] ?? '', PYTHONPATH: folder, OMP_NUM_THREADS: '1' },
    cwd: job.path,
    ranks: 2,
    resources: { cpus: 1, gpus: 2 },
  });
  return { launcher, job };
}

test(
  'each rank writes a log of its own, and the first to fail is the error',
  { timeout: 120_000 },
  async () => {
    const { launcher, job } = await start(programPaths.python(root));
    while ((await launcher.poll(job)) === 'running') await launcher.wait(job, 1000);
    expect(await job.readExit()).not.toBe(0);
    expect(await readFirstFailure(job.events)).toMatchObject({ rank: 1, code: 'NAN_LOSS' });
    expect((await launcher.logs(job)).filter((name) => name.endsWith('stderr.log'))).toHaveLength(2);
  },
);

const canName = spawnSync('unshare', ['--uts', 'true'], { stdio: 'ignore' }).status === 0;

test.skipIf(!canName)(
  `ranks find each other on a host whose own name nobody can look up${canName ? '' : ': needs root'}`,
  { timeout: 120_000 },
  async () => {
    const python = join(folder, 'python');
    const renamed = `hostname no-such-host.invalid; exec "$0" "$@"`;
    writeFileSync(
      python,
      `#!/bin/sh\nexec unshare --uts sh -c '${renamed}' ${programPaths.python(root)} "$@"\n`,
      { mode: 0o755 },
    );
    const { launcher, job } = await start(python);
    await launcher.wait(job, 90_000);
    expect(await launcher.poll(job)).toBe('ended');
    expect(await readFirstFailure(job.events)).toMatchObject({ rank: 1 });
  },
);

/** A stand-in engine: rank 1 fails at once, rank 0 a second later, as an echo. */
function writeModule(path: string): void {
  writeFileSync(
    `${path}.py`,
    `import json, os, sys, time
rank = int(os.environ["RANK"])
time.sleep(1 - rank)
event = {"event": "failed", "at": time.time(), "rank": rank, "code": "NAN_LOSS" if rank else "NODE_LOST", "message": "m", "details": {}}
with open(os.path.join(os.path.dirname(sys.argv[1]), "events.jsonl"), "a") as out:
    out.write(json.dumps(event) + "\\n")
sys.exit(1)
`,
  );
}
