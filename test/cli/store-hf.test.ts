import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { UsageError } from '../../cli/command.ts';
import { command as storeCommand } from '../../cli/store.ts';
import { homePaths, openHomeStore } from '../../workers/home.ts';
import { put } from '../contract/store-rig.ts';
import { moeFile, noise, tensorFile } from '../contract/tensor-file.ts';
import { root } from '../support/built.ts';
import { textTerminal } from '../support/text-terminal.ts';

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'fretsaw-hf-'));
});
afterEach(() => {
  rmSync(cwd, { recursive: true, force: true });
});

async function store(...args: string[]): Promise<Record<string, unknown>> {
  const { terminal, said } = textTerminal();
  await storeCommand.run({ args, json: true, env: {}, cwd, terminal, installation: { root } });
  return JSON.parse(said()) as Record<string, unknown>;
}

/** Two shards, one of them no multiple of anything, an index, a tokenizer, a chat template in a folder. */
function checkpoint(folder: string): void {
  const files: Record<string, string | Buffer> = {
    'config.json': '{"model_type": "gpt_oss"}\n',
    '.gitattributes': '*.safetensors filter=lfs\n',
    'tokenizer.json': noise('tokenizer', 9_000_001),
    'model-00001-of-00002.safetensors': moeFile([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]),
    'model-00002-of-00002.safetensors': tensorFile([
      { name: 'lm_head.weight', shape: [1_500_001], bytes: noise('head', 1_500_001) },
    ]),
    'model.safetensors.index.json': JSON.stringify({
      weight_map: {
        'model.layers.0.mlp.router.bias': 'model-00001-of-00002.safetensors',
        'lm_head.weight': 'model-00002-of-00002.safetensors',
      },
    }),
    'additional/chat_template.jinja': '{{ messages }}',
  };
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
}

it('a Hugging Face folder comes back byte for byte, without what git and the downloader left in it', async () => {
  const folder = join(cwd, 'in');
  checkpoint(folder);
  for (const path of ['.git/config', '.cache/huggingface/download/config.json.metadata']) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), 'not of the checkpoint');
  }
  const { digest, files } = await store('import-hf', 'in', '--pin', 'parent');
  expect(files).toBe(7);
  await store('export-hf', 'pins/parent', 'out');
  for (const left of ['.git', '.cache']) rmSync(join(folder, left), { recursive: true });
  execFileSync('diff', ['-r', folder, join(cwd, 'out')]);
  expect(await store('import-hf', 'out')).toMatchObject({ digest });
  expect(await openHomeStore(homePaths({}, cwd)).upkeep.referred()).toEqual([digest]);
  await expect(store('export-hf', 'pins/parent', 'out')).rejects.toMatchObject({ code: 'BAD_INPUT' });
});

it("a snapshot in the hub's cache, which is links into its blobs, is the same artifact", async () => {
  checkpoint(join(cwd, 'in'));
  const repository = join(cwd, 'models--openai--gpt-oss');
  const snapshot = join(repository, 'snapshots', 'f'.repeat(40));
  for (const entry of readdirSync(join(cwd, 'in'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const source = join(entry.parentPath, entry.name);
    const below = source.slice(join(cwd, 'in').length + 1);
    const blob = join(repository, 'blobs', below.replaceAll('/', '_'));
    mkdirSync(join(blob, '..'), { recursive: true });
    mkdirSync(join(snapshot, below, '..'), { recursive: true });
    writeFileSync(blob, readFileSync(source));
    symlinkSync(blob, join(snapshot, below));
  }
  const { digest } = await store('import-hf', 'in');
  expect(await store('import-hf', snapshot)).toMatchObject({ digest });
  writeFileSync(join(cwd, 'secret'), 'secret');
  symlinkSync(join(cwd, 'secret'), join(snapshot, 'leaves.txt'));
  await expect(store('import-hf', snapshot)).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
});

it('one that is not whole is refused, and so is an export of what is no checkpoint', async () => {
  checkpoint(join(cwd, 'in'));
  rmSync(join(cwd, 'in', 'model-00002-of-00002.safetensors'));
  await expect(store('import-hf', 'in')).rejects.toMatchObject({
    code: 'BAD_INPUT',
    message: expect.stringContaining('names model-00002-of-00002.safetensors, which is missing') as string,
  });
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n';
  writeFileSync(join(cwd, 'in', 'model-00002-of-00002.safetensors'), pointer);
  await expect(store('import-hf', 'in')).rejects.toMatchObject({ code: 'BAD_INPUT' });
  const { digest } = await put(openHomeStore(homePaths({}, cwd)), { 'a.txt': 'a' });
  await expect(store('export-hf', digest, 'out')).rejects.toMatchObject({ code: 'BAD_INPUT' });
  await expect(store('import-hf')).rejects.toBeInstanceOf(UsageError);
});
