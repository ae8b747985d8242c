import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { checkCheckpoint } from '../store/check-checkpoint.ts';
import type { Manifest, Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { findArtifact } from './find-artifact.ts';
import { sizeText } from './table.ts';

/** What git and huggingface_hub leave in a folder; a repository's own list of files has neither. */
const notOfTheCheckpoint = ['.git', '.cache'] as const;

/** `fretsaw store import-hf <folder> [--pin <name>]`. */
export const importHf: Command = {
  async run({ args, env, cwd, terminal, json }) {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { pin: { type: 'string' } },
    });
    const [named, ...more] = positionals;
    if (named === undefined || more.length > 0) throw new UsageError('expected one folder');
    const store = openHomeStore(homePaths(env, cwd));
    const folder = resolve(cwd, named);
    await checkCheckpoint(folder);
    const blobs = hubBlobs(folder);
    const { digest, sizeBytes } = await store.artifacts.putFolder(folder, {
      type: 'checkpoint',
      without: notOfTheCheckpoint,
      ...(blobs === undefined ? {} : { linksInto: blobs }),
    });
    if (values.pin !== undefined) await store.upkeep.pin(values.pin, digest);
    const { files } = await known(store, digest);
    const said = { digest, sizeBytes, files: files.length, pin: values.pin ?? null };
    terminal.out(
      json
        ? `${JSON.stringify(said)}\n`
        : `${digest}: ${files.length} files, ${sizeText(sizeBytes)}${values.pin === undefined ? '; gc takes it after its grace period unless a run uses it or --pin keeps it' : ''}\n`,
    );
    return exitCodes.ok;
  },
};

/** `fretsaw store export-hf <artifact> <folder>`. */
export const exportHf: Command = {
  async run({ args, env, cwd, terminal, json }) {
    const { positionals } = parseArgs({ args, allowPositionals: true, options: {} });
    const [named, target, ...more] = positionals;
    if (named === undefined || target === undefined || more.length > 0)
      throw new UsageError('expected an artifact and a folder');
    const store = openHomeStore(homePaths(env, cwd));
    const digest = await findArtifact(store, named);
    const { files } = await known(store, digest);
    const isCheckpoint =
      files.some(({ path }) => path === 'config.json') &&
      files.some(({ path }) => path.endsWith('.safetensors'));
    if (!isCheckpoint)
      throw new Failure(
        'BAD_INPUT',
        `${digest} is no Hugging Face checkpoint: config.json or weights are not in it`,
      );
    const folder = resolve(cwd, target);
    await store.artifacts.export(digest, folder);
    const sizeBytes = files.reduce((sum, { size }) => sum + size, 0);
    const said = { digest, folder, files: files.length, sizeBytes };
    terminal.out(
      json ? `${JSON.stringify(said)}\n` : `${folder}: ${files.length} files, ${sizeText(sizeBytes)}\n`,
    );
    return exitCodes.ok;
  },
};

/**
 * A snapshot in huggingface_hub's cache is links into `blobs` beside it:
 * https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */
function hubBlobs(folder: string): string | undefined {
  const snapshots = dirname(folder);
  const blobs = join(dirname(snapshots), 'blobs');
  return basename(snapshots) === 'snapshots' && existsSync(blobs) ? blobs : undefined;
}

async function known(store: Store, digest: Digest): Promise<Manifest> {
  const manifest = await store.artifacts.manifest(digest);
  if (manifest === undefined) throw new Failure('NOT_FOUND', `${digest}: the store has no such artifact`);
  return manifest;
}
