import { mkdir, readFile, readdir, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Json } from '../core/canonical-json.ts';
import type { FileEntry } from '../core/artifact.ts';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';

/** One input as the job sees it: a verified read-only folder. */
export interface JobArtifact {
  digest: string;
  path: string;
}

export type JobInput = JobArtifact | JobArtifact[] | { [name: string]: JobArtifact };

/** `engine/contract/job.v1.schema.json`: what a runner is told. */
export interface JobFile {
  schema: 'fretsaw/job/v1';
  key: string;
  kind: string;
  version: string;
  attempt: number;
  with: { readonly [name: string]: Json };
  inputs: { [name: string]: JobInput };
  outputs: { [name: string]: string };
  resources: object;
  threads: number;
  folder: string;
  resume: { path: string; step: number } | null;
  lease: { seconds: number };
}

/** `done.v1`: written last and by rename; it alone means success. */
export interface DoneManifest {
  schema: 'fretsaw/done/v1';
  key: string;
  attempt: number;
  outputs: { [name: string]: FileEntry[] };
}

/** The folder of one attempt, `<work>/<key hex>/<attempt>`, and the names in it. */
export class JobFolder {
  readonly path: string;
  readonly attempt: number;

  constructor(work: string, key: StageKey, attempt: number) {
    this.path = join(work, hexOf(key), String(attempt));
    this.attempt = attempt;
  }

  get job(): string {
    return join(this.path, 'job.json');
  }
  get log(): string {
    return join(this.path, 'log');
  }
  /** Why an engine job was not forked off a warm parent, in one line; absent where it was. */
  get cold(): string {
    return join(this.path, 'cold');
  }
  get events(): string {
    return join(this.path, 'events.jsonl');
  }
  get lease(): string {
    return join(this.path, 'lease');
  }
  get process(): string {
    return join(this.path, 'process.json');
  }
  get done(): string {
    return join(this.path, 'done.json');
  }
  /** Exit code of a job whose process cannot write a done-manifest itself. */
  get exit(): string {
    return join(this.path, 'exit');
  }
  /** What a scheduler was given to run. */
  get script(): string {
    return join(this.path, 'job.sbatch');
  }
  /** Written by a queued job when its turn has come. */
  get began(): string {
    return join(this.path, 'began');
  }
  /** The object that a Kubernetes cluster was given. */
  get object(): string {
    return join(this.path, 'object.json');
  }
  /** Logs of ranks, below it as torchrun lays them out. */
  get ranks(): string {
    return join(this.path, 'ranks');
  }
  /** Where each process of a stalled job was when it was given up. */
  get stacks(): string {
    return join(this.path, 'stacks');
  }
  /** Out-of-memory kills on this host before the job was started. */
  get oomKills(): string {
    return join(this.path, 'oom-kills');
  }
  /** Links to what is kept with the attempt. */
  get kept(): string {
    return join(this.path, 'kept');
  }
  /** Where a user's command works: `inputs/<name>` and its declared outputs. */
  get files(): string {
    return join(this.path, 'files');
  }
  /** What is in the store once the attempt is done. */
  get bulky(): string[] {
    return [this.files, join(this.path, 'out'), this.snapshots, this.kept];
  }
  get snapshots(): string {
    return join(this.path, 'snapshots');
  }

  snapshot(step: number): string {
    return join(this.snapshots, String(step).padStart(8, '0'));
  }

  output(name: string): string {
    return join(this.path, 'out', name);
  }

  async prepare(job: JobFile): Promise<void> {
    await mkdir(this.path, { recursive: true });
    await writeFile(this.lease, '');
    await writeWhole(this.job, job);
  }

  /** Says to the job that its supervisor still holds the attempt. */
  async touchLease(): Promise<void> {
    const now = new Date();
    await utimes(this.lease, now, now);
  }

  async startedAtMs(): Promise<number | undefined> {
    return (await stat(this.job).catch(() => undefined))?.mtimeMs;
  }

  async readDone(): Promise<DoneManifest | undefined> {
    return (await readJson(this.done)) as DoneManifest | undefined;
  }

  async readJob(): Promise<JobFile | undefined> {
    return (await readJson(this.job)) as JobFile | undefined;
  }

  /** The exit code, once its line is whole. */
  async readExit(): Promise<number | undefined> {
    const text = await readText(this.exit);
    return text?.endsWith('\n') === true ? Number.parseInt(text, 10) : undefined;
  }

  /** Snapshot folders whose rename is done, by step, newest first. */
  async listSnapshots(): Promise<{ step: number; path: string }[]> {
    const names = await readdir(this.snapshots).catch(() => []);
    return names
      .filter((name) => /^\d{8}$/.test(name))
      .sort()
      .reverse()
      .map((name) => ({ step: Number(name), path: join(this.snapshots, name) }));
  }

  /** The last lines of what the job wrote, for people. */
  async tailLog(lines: number): Promise<string> {
    const text = (await readText(this.log)) ?? '';
    return text.trimEnd().split('\n').slice(-lines).join('\n');
  }
}

/** Attempts that have a folder on this host, highest first. */
export async function listAttempts(work: string, key: StageKey): Promise<number[]> {
  const names = await readdir(join(work, hexOf(key))).catch(() => []);
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => b - a);
}

/** Writes by rename: whole or absent. */
export async function writeWhole(path: string, document: unknown): Promise<void> {
  const partial = `${path}.${process.pid}.partial`;
  await writeFile(partial, `${JSON.stringify(document, null, 1)}\n`);
  await rename(partial, path);
}

export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

async function readJson(path: string): Promise<unknown> {
  const text = await readText(path);
  return text === undefined ? undefined : (JSON.parse(text) as unknown);
}
