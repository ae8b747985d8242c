import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startServer } from '../../evaluation/server/openai-server.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const home = mkdtempSync(join(tmpdir(), 'fretsaw-rollout-'));
const enginePath = ['src', 'tests/unit'].map((part) => join(root, 'engine', part)).join(':');

/** Runs engine code as the rig of its own tests does, told `asked`; what it prints last is JSON. */
async function python(code: string, asked: object): Promise<unknown> {
  const { stdout } = await promisify(execFile)(
    join(root, '.venv', 'bin', 'python'),
    ['-c', code, JSON.stringify({ ...asked, home })],
    { env: { ...process.env, PYTHONPATH: enginePath, OMP_NUM_THREADS: '1' } },
  );
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
}

const makeModels = `
import json, sys
from pathlib import Path
from training_rig import write_child, write_parent, write_prompts
home = Path(json.loads(sys.argv[1])['home'])
write_prompts(home / 'prompts', 10)
for name, seed in (('right', 1), ('other', 2)):
    write_child(home / name, write_parent(home / f'{name}-parent', seed))
print('null')
`;

/** Runs stages on models; the last event of each. */
const runStages = `
import json, os, sys
from importlib import import_module
from pathlib import Path
from training_rig import events, load_job, write_job
from fretsaw_engine.job import run_job
asked = json.loads(sys.argv[1])
home, outputs = Path(asked['home']), {
    'generate': ['data', 'capped'], 'reinforce': ['checkpoint', 'curves', 'samples']}
last = {}
for name, stage in asked['stages'].items():
    kind, model = stage['kind'], stage['model']
    inputs = {'model': home / model['name'], 'prompts': home / 'prompts'}
    job_file = write_job(home / name, kind, stage['with'], inputs, outputs[kind])
    job = json.loads(job_file.read_text())
    job['inputs']['model']['digest'] = model['digest']
    job_file.write_text(json.dumps(job))
    os.environ['ROLLOUT_URL'] = stage['url']
    run_job(load_job(job_file), import_module(f'fretsaw_engine.stages.{kind}').run)
    last[name] = events(job_file)[-1]
print(json.dumps(last))
`;

interface Stage {
  kind: 'generate' | 'reinforce';
  model: { name: 'right' | 'other'; digest: string };
  url: string;
  with: object;
}

interface LastEvent {
  event: string;
  code?: string;
  message?: string;
}

const rollout = { engine: 'server', url: { secret: 'ROLLOUT_URL' } };
const generated = { effort: 'high', max_new_tokens: 12, temperature: 0 };
const reinforced = { variant: 'high', steps: 1, max_new_tokens: 12, rollout };
const another = `sha256:${'b'.repeat(64)}`;
const other = { name: 'other', digest: another } as const;

let serving: ChildProcess;
let digest: string;
let last: Record<string, LastEvent>;
beforeAll(async () => {
  await python(makeModels, {});
  const words = ['--import', 'tsx', join(root, 'cli', 'main.ts'), 'serve', join(home, 'right')];
  serving = spawn(process.execPath, [...words, '--port', '0', '--json'], {
    cwd: root,
    env: { PATH: process.env['PATH'], FRETSAW_HOME: join(home, 'home') },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (serving.stdout === null) throw new Error('bug: no pipe');
  const [line] = (await once(createInterface(serving.stdout), 'line')) as [string];
  const served = JSON.parse(line) as { url: string; digest: string };
  ({ digest } = served);
  const lying = await startServer({
    ...{ folder: join(home, 'home', 'served', digest.replace('sha256:', '')), name: 'model' },
    ...{ digest: another, host: '127.0.0.1', port: 0, threads: 1 },
    ...{ batchSize: 8, queueSize: 100, maxNewTokens: 16 },
  });
  last = await askAll({ right: { name: 'right', digest }, honest: served.url, lying: lying.url });
  await lying.close();
}, 180_000);
afterAll(async () => {
  serving.kill('SIGTERM');
  await once(serving, 'exit');
  rmSync(home, { recursive: true, force: true });
});

/** One process for all: it takes longer to start than to ask. */
async function askAll(given: { right: Stage['model']; honest: string; lying: string }): Promise<typeof last> {
  const { right, honest, lying } = given;
  const stages: Record<string, Stage> = {
    here: { kind: 'generate', model: right, url: '', with: generated },
    served: { kind: 'generate', model: right, url: honest, with: { ...generated, rollout } },
    'answers by name': { kind: 'generate', model: other, url: honest, with: { ...generated, rollout } },
    'training by name': { kind: 'reinforce', model: other, url: honest, with: reinforced },
    'answers by probes': { kind: 'generate', model: other, url: lying, with: { ...generated, rollout } },
    'training by probes': { kind: 'reinforce', model: other, url: lying, with: reinforced },
  };
  return (await python(runStages, { stages })) as typeof last;
}

describe('a rollout server', () => {
  it('that serves the checkpoint answers for it, token for token; how that is known stands in the listing', () => {
    expect(last).toMatchObject({ here: { event: 'done' }, served: { event: 'done' } });
    const read = (name: string, file: string): string => readFileSync(join(home, name, 'out', file), 'utf8');
    for (const file of readdirSync(join(home, 'here', 'out', 'data')))
      expect(read('served', `data/${file}`), file).toBe(read('here', `data/${file}`));
    const listing = JSON.parse(read('served', 'capped/capped.json')) as { served: Record<string, number> };
    expect(listing.served['answers']).toBe(8);
    expect(listing.served['gap']).toBeLessThan(1e-4);
  });

  it.each(['answers by name', 'training by name'])(
    'that says it serves another checkpoint is refused (%s)',
    (name) => {
      expect(last[name]).toMatchObject({ event: 'failed', code: 'DIGEST_MISMATCH' });
      expect(last[name]?.message).toBe(`expected a server of ${another}, it says that it serves ${digest}`);
    },
  );

  it.each(['answers by probes', 'training by probes'])(
    'that names the checkpoint and serves another one is found out by what it answers (%s)',
    (name) => {
      expect(last[name]).toMatchObject({ event: 'failed', code: 'DIGEST_MISMATCH' });
      expect(last[name]?.message).toContain(`the server does not answer as ${another} does`);
    },
  );
});
