import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { artifactDigest } from '../core/artifact.ts';
import { hexOf, type Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { filesBelow } from '../store/folder-files.ts';
import { sha256Bytes, sha256Text } from '../store/sha256.ts';
import type { Store } from '../store/store.ts';
import type { HomePaths } from '../workers/home.ts';
import type { Invocation } from './command.ts';
import { findArtifact } from './find-artifact.ts';

export interface Servable {
  /** An exported model. */
  folder: string;
  /** Of what was named: a checkpoint keeps its own although its export is served. */
  digest: Digest;
}

export interface Surroundings {
  invocation: Invocation;
  home: HomePaths;
  store: Store;
}

/** A folder or an artifact, a checkpoint or an exported model; a checkpoint is exported once and kept by its digest. */
export async function findServable(name: string, around: Surroundings): Promise<Servable> {
  const local = resolve(around.invocation.cwd, name);
  const isFolder = existsSync(join(local, 'config.json'));
  const digest = isFolder ? await digestOf(local) : await findArtifact(around.store, name);
  const folder = isFolder ? local : await around.store.artifacts.view(digest);
  if (existsSync(join(folder, 'onnx.json'))) return { folder, digest };
  if (
    !existsSync(join(folder, 'model.safetensors')) &&
    !existsSync(join(folder, 'model.safetensors.index.json'))
  )
    throw new Failure('BAD_INPUT', `${name}: neither a checkpoint nor an exported model`);
  return { folder: await exported(folder, digest, around), digest };
}

async function digestOf(folder: string): Promise<Digest> {
  const files = (await filesBelow(folder)).map(({ path, source }) => {
    const bytes = readFileSync(source);
    return { path, size: bytes.length, sha256: sha256Bytes(bytes) };
  });
  return artifactDigest(files, sha256Text);
}

/** A checkpoint with calibrated scales answers through them. */
function hasFp8Cache(checkpoint: string): boolean {
  const config: unknown = JSON.parse(readFileSync(join(checkpoint, 'config.json'), 'utf8'));
  return JSON.stringify(config).includes('"kv_cache_scheme":{');
}

/** The kind `export-onnx`, run here: its check against PyTorch counts for a served model too. */
async function exported(checkpoint: string, digest: Digest, around: Surroundings): Promise<string> {
  const { invocation, home } = around;
  const final = join(home.root, 'served', hexOf(digest));
  if (existsSync(final)) return final;
  const partial = `${final}.${process.pid}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  invocation.terminal.err(`exporting ${digest} for ONNX Runtime\n`);
  const output = join(partial, 'onnx');
  const job = {
    schema: 'fretsaw/job/v1',
    key: hexOf(digest),
    kind: 'export-onnx',
    version: '1',
    attempt: 1,
    with: { kv: hasFp8Cache(checkpoint) ? 'fp8' : 'float' },
    inputs: { model: { digest, path: checkpoint } },
    outputs: { onnx: output },
    resources: {},
    threads: 1,
    folder: partial,
    resume: null,
    lease: { seconds: 0 },
  };
  writeFileSync(join(partial, 'job.json'), JSON.stringify(job));
  const { root } = invocation.installation;
  try {
    await promisify(execFile)(
      join(root, '.venv', 'bin', 'python'),
      ['-m', 'fretsaw_engine', join(partial, 'job.json')],
      { env: { ...invocation.env, PYTHONPATH: join(root, 'engine', 'src') } },
    );
  } catch (error) {
    const events = join(partial, 'events.jsonl');
    const told = existsSync(events) ? readFileSync(events, 'utf8').trimEnd().split('\n').at(-1) : undefined;
    throw new Failure('ENGINE_BUG', `the export failed: ${told ?? String(error)}`, { cause: error });
  }
  renameSync(output, final);
  rmSync(partial, { recursive: true, force: true });
  return final;
}
