import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { command as artifact } from '../../cli/artifact.ts';
import { UsageError, type Command } from '../../cli/command.ts';
import { command as storeCommand } from '../../cli/store.ts';
import { sha256Bytes } from '../../store/sha256.ts';
import type { ArtifactRef } from '../../core/artifact.ts';
import { homePaths, openHomeStore } from '../../workers/home.ts';
import { put } from '../contract/store-rig.ts';
import { moeFile, noise } from '../contract/tensor-file.ts';
import { textTerminal } from '../support/text-terminal.ts';

let cwd: string;
const root = fileURLToPath(new URL('../../', import.meta.url));
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'fretsaw-verbs-'));
});
afterEach(() => {
  rmSync(cwd, { recursive: true, force: true });
});
const open = () => openHomeStore(homePaths({}, cwd));

async function run(
  command: Command,
  args: string[],
): Promise<{ code: number; said: Record<string, unknown> }> {
  const { terminal, said } = textTerminal();
  const code = await command.run({ args, json: true, env: {}, cwd, terminal, installation: { root } });
  return { code, said: JSON.parse(said()) as Record<string, unknown> };
}
async function putModel(): Promise<ArtifactRef> {
  mkdirSync(join(cwd, 'in'));
  writeFileSync(join(cwd, 'in/model.safetensors'), moeFile([[3, 1, 4, 5, 9, 2, 6, 8]]));
  return open().artifacts.putFolder(join(cwd, 'in'), { type: 'checkpoint' });
}
function age(): void {
  const old = Date.now() / 1000 - 30 * 24 * 3600;
  for (const entry of readdirSync(join(cwd, '.fretsaw/store'), { recursive: true, withFileTypes: true }))
    if (entry.isFile()) utimesSync(join(entry.parentPath, entry.name), old, old);
}

it('gc says what would go, takes it, and leaves what is pinned', async () => {
  const kept = await put(open(), { a: 'kept' });
  const gone = await put(open(), { a: 'gone' });
  await run(storeCommand, ['pin', 'mine', kept.digest]);
  age();
  const dry = await run(storeCommand, ['gc', '--dry-run']);
  expect(dry.said).toMatchObject({ dryRun: true, objects: expect.any(Array) as unknown[] });
  expect(await open().artifacts.missing(gone.digest)).toEqual([]);
  const wet = await run(storeCommand, ['gc', '--grace', '1h']);
  expect(wet.said['objects']).toEqual(dry.said['objects']);
  expect(await open().artifacts.list()).toEqual([kept.digest]);
  await expect(run(storeCommand, ['gc', '--grace', 'soon'])).rejects.toBeInstanceOf(UsageError);
});

it('rm wants a reason, takes the bytes and the view, and the reason stays', async () => {
  const { digest } = await put(open(), { a: 'secret' });
  await open().artifacts.view(digest);
  await expect(run(storeCommand, ['rm', digest])).rejects.toBeInstanceOf(UsageError);
  const { said } = await run(storeCommand, ['rm', digest, '--tombstone', '--reason', 'asked to']);
  expect(said).toMatchObject({ digest, reason: 'asked to' });
  expect(await open().artifacts.missing(digest)).toEqual(['(tombstone: asked to)']);
  expect(readdirSync(join(cwd, '.fretsaw/views'))).toEqual([]);
});

it('verify finds a flipped bit, and repair mends it from another store', async () => {
  const ref = await putModel();
  const other = openHomeStore({ ...homePaths({}, cwd), root: join(cwd, 'other') });
  await other.artifacts.putFolder(join(cwd, 'in'), { type: 'checkpoint' });
  expect((await run(storeCommand, ['verify', '--bytes'])).code).toBe(0);
  const pack = packs().find(({ size }) => size > 100_000)?.path ?? '';
  const bytes = noise('other', 150_000);
  rmSync(pack);
  writeFileSync(pack, bytes);
  const found = await run(storeCommand, ['verify', '--bytes', '--resume', '--mb-per-s', '1000']);
  expect(found).toMatchObject({ code: 1, said: { incomplete: [{ digest: ref.digest }] } });
  const mended = await run(storeCommand, ['repair', '--from', `file://${join(cwd, 'other/store')}`]);
  expect(mended.said).toEqual({ mended: [ref.digest], lost: [] });
  expect((await run(storeCommand, ['verify'])).code).toBe(0);
});

it('du counts what groups share', async () => {
  await put(open(), { a: 'loose' });
  const { said } = await run(storeCommand, ['du']);
  expect(said['groups']).toMatchObject([{ name: '(no ended run)', logicalBytes: 5, sharedBytes: 0 }]);
});

it('artifact tensor reads one expert by the row it has, and refuses what is not stacked', async () => {
  const { digest } = await putModel();
  const name = 'model.layers.0.mlp.experts.down_proj_blocks';
  const { said } = await run(artifact, ['tensor', digest, name, '--expert', '2']);
  const expected = noise(`0 4 down_proj_blocks`, 48 << 10);
  expect(said).toMatchObject({ shape: [48 << 10], dtype: 'U8', sha256: sha256Bytes(expected) });
  const whole = await run(artifact, ['tensor', digest, name]);
  expect(whole.said).toMatchObject({ shape: [8, 48 << 10], sizeBytes: 8 * (48 << 10) });
  for (const [tensor, expert] of [
    [name, '8'],
    ['model.layers.0.self_attn.q_proj.weight', '0'],
  ] as const)
    await expect(run(artifact, ['tensor', digest, tensor, '--expert', expert])).rejects.toMatchObject({
      code: 'BAD_INPUT',
    });
  await expect(run(artifact, ['tensor', digest, 'no.such'])).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

function packs(): { path: string; size: number }[] {
  const folder = join(cwd, '.fretsaw/store/packs');
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, size: statSync(path).size }));
}
