import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../cli/command.ts';
import { command as storeCommand } from '../../cli/store.ts';
import type { Store } from '../../store/store.ts';
import { homePaths, openHomeStore } from '../../workers/home.ts';
import { credentialsOf, makeBucket } from '../contract/s3-rig.ts';
import { keyOf, put } from '../contract/store-rig.ts';
import { root } from '../support/built.ts';
import { radosgwIsMissing } from '../support/radosgw.ts';
import { textTerminal } from '../support/text-terminal.ts';

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'fretsaw-copying-'));
});
afterEach(() => {
  rmSync(cwd, { recursive: true, force: true });
});

async function store(
  args: string[],
  { env = {}, json = true }: { env?: Record<string, string>; json?: boolean } = {},
): Promise<{ code: number; text: string }> {
  const { terminal, said } = textTerminal();
  const code = await storeCommand.run({ args, json, env, cwd, terminal, installation: { root } });
  return { code, text: said() };
}

async function copied(args: string[]): Promise<unknown> {
  const { artifacts, records, conflicts } = JSON.parse((await store(args)).text) as Record<
    string,
    { copied: number; length: number }
  >;
  return [artifacts?.copied, records?.copied, conflicts?.length];
}

const own = (): Store => openHomeStore(homePaths({}, cwd));
/** As the command opens a store at a folder. */
const at = (name: string): Store => openHomeStore(homePaths({ FRETSAW_STORE: join(cwd, name) }, cwd));

async function fill(): Promise<void> {
  const { digest } = await put(own(), { weights: 'w'.repeat(3 << 20) });
  await own().records.create(keyOf('k'), 1, `makes ${digest}`);
}

describe('between folders', () => {
  it('push gives, copy hands on, pull brings back; done again nothing is copied', async () => {
    await fill();
    expect(await copied(['push', join(cwd, 'b')])).toEqual([1, 1, 0]);
    expect(await copied(['copy', join(cwd, 'b'), join(cwd, 'c')])).toEqual([1, 1, 0]);
    const [digest] = await at('c').artifacts.list();
    rmSync(join(cwd, '.fretsaw', 'store'), { recursive: true });
    expect(await copied(['pull', join(cwd, 'c')])).toEqual([1, 1, 0]);
    expect(await own().artifacts.list()).toEqual([digest]);
    expect((await own().records.latest(keyOf('k')))?.envelope).toBe(`makes ${digest}`);
    expect(await copied(['pull', join(cwd, 'c')])).toEqual([0, 0, 0]);
  });

  it('a record that is another one there is told, holds there, and is the exit code', async () => {
    await fill();
    await at('b').records.create(keyOf('k'), 1, 'another');
    const { code, text } = await store(['push', join(cwd, 'b')], { json: false });
    expect(code).toBe(1);
    expect(text).toContain(`${keyOf('k')}: generation 1 is another one there, and holds there`);
    expect((await at('b').records.latest(keyOf('k')))?.envelope).toBe('another');
  });

  it('wants as many stores as the verb has, other than the one in use, and runs that there are', async () => {
    await fill();
    await expect(store(['push'])).rejects.toBeInstanceOf(UsageError);
    await expect(store(['copy', join(cwd, 'b')])).rejects.toBeInstanceOf(UsageError);
    await expect(store(['push', join(cwd, '.fretsaw', 'store')])).rejects.toBeInstanceOf(UsageError);
    await expect(store(['push', join(cwd, 'b'), '--run', 'none'])).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });
});

describe.skipIf(radosgwIsMissing() !== undefined)('to S3 and from it', () => {
  it('is the same by a place in a bucket', { timeout: 300_000 }, async () => {
    await fill();
    const { name, server } = await makeBucket();
    const { accessKeyId, secretAccessKey } = credentialsOf(server);
    const before = { ...process.env };
    // Where the AWS SDK looks for them; no option of ours carries a secret.
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey });
    try {
      const place = `s3://${name}/copied?endpoint=${encodeURIComponent(server.endpoint)}`;
      expect(await copied(['push', place])).toEqual([1, 1, 0]);
      expect(await copied(['copy', place, join(cwd, 'back')])).toEqual([1, 1, 0]);
      const [digest] = await own().artifacts.list();
      expect(await at('back').artifacts.missing(digest ?? keyOf(''))).toEqual([]);
    } finally {
      process.env = before;
    }
  });
});
