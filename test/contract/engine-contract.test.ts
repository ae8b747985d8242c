import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv, type ValidateFunction } from 'ajv';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readEnvironment, readFirstFailure, readSigns } from '../../activities/job-events.ts';
import { NodeJob, runNodeJob } from '../../activities/node-job.ts';
import { readJobFile } from '../../activities/node-job-file.ts';
import type { JobFile } from '../../activities/job-folder.ts';
import { failureCodes } from '../../core/errors.ts';
import { compileTexts, planOf, stageOf } from '../support/compile-file.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const contract = join(root, 'engine', 'contract');
const python = join(root, '.venv', 'bin', 'python');
const env = { ...process.env, PYTHONPATH: join(root, 'engine', 'src'), OMP_NUM_THREADS: '1' };
const ajv = new Ajv({ strict: true, strictRequired: false, strictTypes: false, allowUnionTypes: true });
const schemaOf = (name: string): ValidateFunction =>
  ajv.compile(JSON.parse(readFileSync(join(contract, `${name}.v1.schema.json`), 'utf8')) as object);
const [job, event, done] = [schemaOf('job'), schemaOf('event'), schemaOf('done')];
const golden = JSON.parse(readFileSync(join(contract, 'job.golden.json'), 'utf8')) as JobFile;

/** The seeded tasks need no data set. */
const stage = stageOf(
  planOf(
    compileTexts({
      'a.yaml': `fretsaw: v1
name: contract
inputs: { parent: { checkpoint: ./parent } }
stages:
  rows:
    kind: prepare
    inputs: { tokenizer: parent }
    with: { generator: rehearsal-tasks, split: train, examples: 2, sequence_length: 128 }
`,
    }),
  ),
  'rows',
);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fretsaw-contract-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function expectValid(validate: ValidateFunction, value: unknown): void {
  validate(value);
  expect(validate.errors ?? []).toEqual([]);
}

function eventsOf(path: string): Record<string, unknown>[] {
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

function writeJob(changes: Partial<JobFile> = {}): string {
  const file: JobFile = {
    ...golden,
    kind: 'prepare',
    with: stage.with,
    inputs: { tokenizer: { digest: golden.key, path: join(root, 'specs', 'rehearsal', 'parent') } },
    outputs: { data: join(folder, 'out', 'data'), removed: join(folder, 'out', 'removed') },
    resources: { cpus: 1, gpus: 0 },
    threads: 1,
    folder,
    resume: null,
    lease: { seconds: 0 },
    ...changes,
  };
  const path = join(folder, 'job.json');
  writeFileSync(path, JSON.stringify(file));
  expectValid(job, file);
  return path;
}

describe('a job file', () => {
  it('of the contract is read alike by both sides', async () => {
    expectValid(job, golden);
    const said = execFileSync(
      python,
      [
        '-c',
        `import dataclasses, json, sys
from pathlib import Path
from fretsaw_engine.job import Artifact, read_job
def plain(value):
    if isinstance(value, Artifact): return {"digest": value.digest, "path": str(value.path)}
    if isinstance(value, dict): return {name: plain(member) for name, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, list) else value
job = read_job(Path(sys.argv[1]))
print(json.dumps({"key": job.key, "attempt": job.attempt, "with": job.settings, "inputs": plain(job.inputs),
  "resources": job.resources, "threads": job.threads, "folder": str(job.folder),
  "resume": {"path": str(job.resume.path), "step": job.resume.step}, "lease": {"seconds": job.lease_seconds}}))`,
        join(contract, 'job.golden.json'),
      ],
      { env, encoding: 'utf8' },
    );
    const { schema, kind, version, outputs, ...rest } = await readJobFile(join(contract, 'job.golden.json'));
    expect({ schema, kind, version, outputs, ...rest }).toEqual(golden);
    expect(JSON.parse(said)).toEqual(rest);
  });

  it.each([
    ['an unknown key', { more: 1 }],
    ['another schema', { schema: 'fretsaw/job/v2' }],
  ])('with %s is refused by the schema and by both sides', async (_, change) => {
    const path = join(folder, 'job.json');
    writeFileSync(path, JSON.stringify({ ...golden, ...change }));
    expect(job({ ...golden, ...change })).toBe(false);
    await expect(readJobFile(path)).rejects.toMatchObject({ code: 'BAD_INPUT' });
    const read =
      'import sys; from pathlib import Path; from fretsaw_engine.job import read_job; read_job(Path(sys.argv[1]))';
    const ended = spawnSync(python, ['-c', read, path], { env, encoding: 'utf8' });
    expect(ended.status).toBe(1);
    expect(ended.stderr).toContain('StageFailure');
  });
});

describe('what a job says', () => {
  it('from Python is as the schemas have it, and says what it ran on', async () => {
    const ended = spawnSync(python, ['-m', 'fretsaw_engine', writeJob()], { env, encoding: 'utf8' });
    const events = eventsOf(join(folder, 'events.jsonl'));
    expect({ status: ended.status, last: events.at(-1) }).toMatchObject({ status: 0 });
    for (const one of events) expectValid(event, one);
    expect(events.map((one) => one['event'])).toEqual(
      expect.arrayContaining(['started', 'environment', 'done']) as unknown,
    );
    expectValid(done, JSON.parse(readFileSync(join(folder, 'done.json'), 'utf8')));
    const { versions, machine } = await readEnvironment(join(folder, 'events.jsonl'));
    expect(versions['python']).toMatch(/^3\.\d+\.\d+$/);
    expect(machine).toMatchObject({ world_size: 1, threads: 1, device: 'cpu' });
  });

  it('from Node is as the schemas have it', async () => {
    const path = writeJob({ outputs: { results: join(folder, 'out') } });
    const work = async (running: NodeJob): Promise<void> => {
      running.progress(1, 2, { unit: 'examples', rate: 0.5 });
      running.metrics(1, { loss: NaN, reward: Infinity, length: -Infinity, accuracy: 0.5 });
      await running.snapshot(1, { 'answers.jsonl': '{}\n' }, { asked: 1 });
      mkdirSync(running.output('results'), { recursive: true });
      writeFileSync(join(running.output('results'), 'x'), 'x');
    };
    const host = { pid: process.pid, onStop: () => undefined, exit: () => undefined };
    expect(await runNodeJob(path, work, host)).toBe(0);
    const events = eventsOf(join(folder, 'events.jsonl'));
    for (const one of events) expectValid(event, one);
    expect(events.map((one) => one['event'])).toEqual([
      'started',
      'environment',
      'progress',
      'metrics',
      'snapshot',
      'done',
    ]);
    expect(events[3]).toMatchObject({ values: { loss: 'nan', reward: 'inf', length: '-inf' } });
    expectValid(done, JSON.parse(readFileSync(join(folder, 'done.json'), 'utf8')));
    expect((await readSigns(join(folder, 'events.jsonl'))).progress).toMatchObject({ step: 1, total: 2 });
  });

  it('of a failure is one closed code, known to both sides', async () => {
    const path = writeJob({ with: { generator: 'nonsense' } });
    expect(spawnSync(python, ['-m', 'fretsaw_engine', path], { env }).status).not.toBe(0);
    for (const one of eventsOf(join(folder, 'events.jsonl'))) expectValid(event, one);
    const failure = await readFirstFailure(join(folder, 'events.jsonl'));
    expect(failureCodes).toContain(failure?.code);
    const said = execFileSync(
      python,
      [
        '-c',
        'import json; from fretsaw_engine.job import FAILURE_CODES; print(json.dumps(sorted(FAILURE_CODES)))',
      ],
      { env, encoding: 'utf8' },
    );
    expect(failureCodes).toEqual(expect.arrayContaining(JSON.parse(said) as string[]) as unknown);
  });
});
