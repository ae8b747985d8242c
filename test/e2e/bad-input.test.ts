import { cpSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliRig } from '../support/cli-rig.ts';
import { root } from '../support/built.ts';

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 120_000);
afterEach(async () => {
  await rig.close();
});

const reading = (inputs: Record<string, string>): string => `fretsaw: v1
name: bad
inputs:
${Object.entries(inputs)
  .map(([name, path]) => `  ${name}: { checkpoint: ${path} }`)
  .join('\n')}
stages:
  read: { kind: command, inputs: { a: [${Object.keys(inputs).join(', ')}] }, with: { argv: [sh, -c, 'echo read >> ${rig.folder}/ran'], outputs: { out: out } } }
`;

function copyParent(name: string): string {
  const folder = join(rig.folder, name);
  cpSync(join(root, 'specs', 'rehearsal', 'parent'), folder, { recursive: true });
  return join(folder, 'model.safetensors');
}

describe('a checkpoint', { timeout: 120_000 }, () => {
  test('that is cut short fails at its import, with both sizes, and nothing reads it', async () => {
    const weights = copyParent('cut');
    const whole = statSync(weights).size;
    truncateSync(weights, whole - 100);
    rig.write('a.yaml', reading({ parent: './cut' }));
    const { code, out } = await rig.run(['run', 'a.yaml', '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      stages: {
        parent: {
          kind: 'failed',
          code: 'BAD_INPUT',
          attempts: 1,
          message: expect.stringMatching(
            new RegExp(`cut short: expected ${whole} bytes, found ${whole - 100}$`),
          ) as string,
        },
        read: { kind: 'blocked', by: 'parent' },
      },
    });
    expect(rig.lines('ran')).toEqual([]);
  });

  test('without weights is called so', async () => {
    rmSync(copyParent('bare'));
    rig.write('a.yaml', reading({ parent: './bare' }));
    const { code, out } = await rig.run(['run', 'a.yaml']);
    expect(code).toBe(1);
    expect(out).toContain('it has no .safetensors file');
  });

  test('that is not there is said before anything starts, and so is every other', async () => {
    rig.write('a.yaml', reading({ parent: './absent', other: './gone' }));
    const { code, err } = await rig.run(['run', 'a.yaml']);
    expect(code).toBe(3);
    expect(err).toMatch(/input parent: .*absent: there is no such file/);
    expect(err).toMatch(/input other: .*gone: there is no such file/);
    expect([rig.server(), rig.worker()]).toEqual([undefined, undefined]);
  });
});

test(
  'a port that somebody else has taken meanwhile is not asked for again',
  { timeout: 120_000 },
  async () => {
    const stage = (words: string): string => `fretsaw: v1
name: port
stages:
  a: { kind: command, with: { argv: [sh, -c, 'echo ${words} > "$0"/x', "{out}"], outputs: { out: out } } }
`;
    rig.write('a.yaml', stage('first'));
    expect((await rig.run(['run', 'a.yaml'])).code).toBe(0);
    const portOf = (): number =>
      (JSON.parse(readFileSync(join(rig.home, 'temporal', 'server.json'), 'utf8')) as { port: number }).port;
    const port = portOf();
    const taker = createServer().listen(port, '127.0.0.1');
    await once(taker, 'listening');
    try {
      rig.write('a.yaml', stage('second'));
      expect((await rig.run(['run', 'a.yaml'])).code).toBe(0);
      expect(portOf()).not.toBe(port);
    } finally {
      taker.close();
    }
  },
);
