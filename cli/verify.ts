import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Failure, isFailure } from '../core/errors.ts';
import { StoredTensors } from '../lineage/experts/stored-tensors.ts';
import { verifyExperts } from '../lineage/experts/verify-experts.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { findArtifact } from './find-artifact.ts';

/** `fretsaw verify experts <child> --parent <parent> [--kept <map>]`: folders or artifacts, from files alone. */
export const command: Command = {
  async run(invocation) {
    const { values, positionals } = parseArgs({
      args: invocation.args,
      allowPositionals: true,
      options: { parent: { type: 'string' }, kept: { type: 'string' } },
    });
    const [what, child, ...more] = positionals;
    if (what !== 'experts') throw new UsageError(`expected experts, found ${what ?? 'nothing'}`);
    if (child === undefined || more.length > 0) throw new UsageError('expected one child');
    if (values.parent === undefined) throw new UsageError('expected --parent <folder or artifact>');
    const { terminal, json } = invocation;
    const kept = values.kept === undefined ? undefined : await readKept(invocation, values.kept);
    const pair = {
      child: await StoredTensors.open(await folderOf(invocation, child)),
      parent: await StoredTensors.open(await folderOf(invocation, values.parent)),
    };
    try {
      const layers = await verifyExperts(pair, kept);
      const experts = layers.reduce((sum, rows) => sum + rows.length, 0);
      terminal.out(
        json
          ? `${JSON.stringify({ verified: true, layers })}\n`
          : `${experts} experts and router rows in ${layers.length} layers are the parent's, byte for byte\n`,
      );
      return exitCodes.ok;
    } catch (error) {
      if (!isFailure(error, 'FROZEN_MOVED')) throw error;
      const { message, details } = error;
      terminal.out(
        json
          ? `${JSON.stringify({ verified: false, message, ...details })}\n`
          : `not the parent's: ${message}\n`,
      );
      return exitCodes.failed;
    } finally {
      await pair.child.close();
      await pair.parent.close();
    }
  },
};

/** A folder as it is; anything else is an artifact of the store. */
async function folderOf({ env, cwd }: Invocation, name: string): Promise<string> {
  const path = resolve(cwd, name);
  if ((await stat(path).catch(() => undefined))?.isDirectory() === true) return path;
  const store = openHomeStore(homePaths(env, cwd));
  return await store.artifacts.view(await findArtifact(store, name));
}

async function readKept(invocation: Invocation, name: string): Promise<number[][]> {
  const file = join(await folderOf(invocation, name), 'kept.json');
  const document: unknown = JSON.parse(await readFile(file, 'utf8'));
  const layers = (document as { layers?: unknown }).layers;
  if (
    Array.isArray(layers) &&
    layers.every((rows) => Array.isArray(rows) && rows.every(Number.isSafeInteger))
  )
    return layers as number[][];
  throw new Failure('BAD_INPUT', `${file}: expected layers, a list of expert numbers each`);
}
