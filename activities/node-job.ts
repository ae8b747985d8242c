import { createHash } from 'node:crypto';
import { appendFileSync, createReadStream, statSync } from 'node:fs';
import { mkdir, open, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Json } from '../core/canonical-json.ts';
import type { FileEntry } from '../core/artifact.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { DoneManifest, JobArtifact, JobFile } from './job-folder.ts';
import { readJobFile } from './node-job-file.ts';

/** The process round a job; a worker passes its own, a test something it can watch. */
export interface JobHost {
  pid: number;
  /** Called at most once, when the job is asked to stop (SIGTERM). */
  onStop(callback: () => void): void;
  /** Ends the process at once. */
  exit(code: number): void;
}

export const exitCodes = { done: 0, failed: 1, preempted: 75, leaseLost: 76 } as const;

/** One attempt at a stage that runs in Node: the other half of engine/src/fretsaw_engine/job.py. */
export class NodeJob {
  readonly file: JobFile;
  readonly #clock: () => number;
  #isStopAsked = false;

  constructor(file: JobFile, clock: () => number = Date.now) {
    this.file = file;
    this.#clock = clock;
  }

  /** The one artifact of an input; BAD_INPUT when it is absent, a list or a map. */
  input(name: string): JobArtifact {
    const value = this.file.inputs[name];
    if (
      value !== undefined &&
      'path' in value &&
      typeof value.path === 'string' &&
      typeof value.digest === 'string'
    ) {
      return { path: value.path, digest: value.digest };
    }
    throw new Failure(
      'BAD_INPUT',
      `input ${name}: expected one artifact, found ${value === undefined ? 'none' : JSON.stringify(value)}`,
    );
  }

  output(name: string): string {
    const folder = this.file.outputs[name];
    if (folder === undefined) throw new Failure('BAD_INPUT', `this job has no output ${name}`);
    return folder;
  }

  emit(event: string, fields: Record<string, unknown>): void {
    const line = JSON.stringify({ event, at: this.#clock() / 1000, rank: 0, ...fields });
    appendFileSync(join(this.file.folder, 'events.jsonl'), `${line}\n`);
  }

  /** `rate` in units a second. */
  progress(step: number, total: number, { unit, rate = null }: { unit: string; rate?: number | null }): void {
    this.emit('progress', { step, total, unit, rate });
  }

  metrics(step: number, values: Readonly<Record<string, number>>): void {
    const finite = Object.entries(values).map(([name, value]) => [
      name,
      Number.isFinite(value) ? value : notFinite(value),
    ]);
    this.emit('metrics', { step, values: Object.fromEntries(finite) });
  }

  /** A resumable snapshot of these files; it counts once its rename is done. A step that is there stays as it is. */
  async snapshot(
    step: number,
    files: Readonly<Record<string, string>>,
    state: Record<string, Json>,
  ): Promise<void> {
    const name = String(step).padStart(8, '0');
    const folder = join(this.file.folder, 'snapshots');
    const final = join(folder, name);
    if (statSync(final, { throwIfNoEntry: false }) !== undefined) return;
    const partial = join(folder, `.${name}.${process.pid}.partial`);
    await mkdir(partial, { recursive: true });
    const { key, attempt } = this.file;
    const note = { schema: 'fretsaw/snapshot/v1', key, attempt, step, state };
    const all = { ...files, 'snapshot.json': `${JSON.stringify(note, null, 1)}\n` };
    await Promise.all(Object.entries(all).map(([file, text]) => writeSynced(join(partial, file), text)));
    await rename(partial, final);
    this.emit('snapshot', { step, path: final, state });
  }

  /** True once the job was asked to stop: save what there is and throw PREEMPTED at the next safe place. */
  get shouldStop(): boolean {
    return this.#isStopAsked;
  }

  stopIfAsked(): void {
    if (this.#isStopAsked) throw new Failure('PREEMPTED', 'asked to stop');
  }

  askToStop(): void {
    this.#isStopAsked = true;
  }
}

/** Runs a stage under its lease; returns the exit code. The done-manifest is written last. */
export async function runNodeJob(
  jobFile: string,
  stage: (job: NodeJob) => Promise<void>,
  host: JobHost,
): Promise<number> {
  const job = new NodeJob(await readJobFile(jobFile));
  host.onStop(() => {
    job.askToStop();
  });
  const watch = watchLease(job, host);
  try {
    job.emit('started', { pid: host.pid, kind: job.file.kind, attempt: job.file.attempt });
    job.emit('environment', environmentOf(job.file));
    await stage(job);
    await writeDone(job.file);
    job.emit('done', {});
    return exitCodes.done;
  } catch (error) {
    const { code, message, details } = toFailure(error);
    job.emit('failed', { code, message, details });
    return code === 'PREEMPTED' ? exitCodes.preempted : exitCodes.failed;
  } finally {
    clearInterval(watch);
  }
}

/** What the job runs on, as engine/src/fretsaw_engine/environment.py tells it. */
function environmentOf({ threads }: JobFile): Record<'versions' | 'machine', object> {
  return {
    versions: { node: process.versions.node },
    machine: { world_size: 1, threads, instruction_set: process.arch, device: 'cpu' },
  };
}

/** JSON has no such numbers; the contract writes them as Python does. */
function notFinite(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  return value > 0 ? 'inf' : '-inf';
}

/** Every error that is not ours becomes one of the closed codes; what nobody foresaw is our bug, said as such. */
export function toFailure(error: unknown): Failure {
  if (isFailure(error)) return error;
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const details = { stack: error instanceof Error ? (error.stack ?? '') : '' };
  if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') {
    return new Failure('DISK_FULL', message, { details, cause: error });
  }
  if (/bad_alloc|allocation failed|failed to allocate|out of memory/i.test(message)) {
    return new Failure('OUT_OF_MEMORY', message, { details, cause: error });
  }
  return new Failure('ENGINE_BUG', message, { details, cause: error });
}

/** Stops the process when nobody renews this attempt's lease: no orphan computes for ever. */
function watchLease(job: NodeJob, host: JobHost): NodeJS.Timeout | undefined {
  const { folder, lease } = job.file;
  if (lease.seconds <= 0) return undefined;
  const timer = setInterval(
    () => {
      const touchedMs = statSync(join(folder, 'lease'), { throwIfNoEntry: false })?.mtimeMs ?? -Infinity;
      if (Date.now() - touchedMs <= lease.seconds * 1000) return;
      clearInterval(timer);
      job.emit('failed', { code: 'LEASE_LOST', message: 'nobody renews this attempt', details: {} });
      host.exit(exitCodes.leaseLost);
    },
    Math.min(2000, lease.seconds * 250),
  );
  timer.unref();
  return timer;
}

/** Hashes every output file and writes done.json by rename, so that it is whole or absent. */
async function writeDone(file: JobFile): Promise<void> {
  const outputs: DoneManifest['outputs'] = {};
  for (const name of Object.keys(file.outputs).sort())
    outputs[name] = await listFiles(file.outputs[name] ?? '');
  const { key, attempt } = file;
  const done: DoneManifest = { schema: 'fretsaw/done/v1', key, attempt, outputs };
  const partial = join(file.folder, 'done.json.partial');
  await writeSynced(partial, JSON.stringify(done, null, 1));
  await rename(partial, join(file.folder, 'done.json'));
}

async function listFiles(folder: string): Promise<FileEntry[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const files = paths.sort().map(async (path) => ({
    path: path.slice(folder.length + 1).replaceAll('\\', '/'),
    size: (await stat(path)).size,
    sha256: await sha256Of(path),
  }));
  return Promise.all(files);
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex');
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, 'w');
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}
