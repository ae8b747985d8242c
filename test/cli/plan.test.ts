import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Invocation } from '../../cli/command.ts';
import { UsageError } from '../../cli/command.ts';
import { pin } from '../../cli/pin.ts';
import { plan } from '../../cli/plan.ts';
import { durationRange } from '../../cli/plan-text.ts';

const root = new URL('../../', import.meta.url).pathname;
let cwd = '';
let output = { out: '', err: '' };

beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'fretsaw-plan-'));
  output = { out: '', err: '' };
});
afterEach(() => {
  rmSync(cwd, { recursive: true });
});

function invocation(json = false): Invocation {
  return {
    args: [],
    json,
    env: {},
    cwd,
    installation: { root },
    terminal: {
      out: (text) => void (output.out += text),
      err: (text) => void (output.err += text),
      isTty: false,
      hasColor: false,
      columns: 100,
      rows: 40,
    },
  };
}

function git(...args: string[]): void {
  execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd, stdio: 'ignore' });
}

const spec = (word: string): string => `fretsaw: v1
name: two
inputs:
  rows: { dataset: ./rows }   # where they come from
stages:
  first: { kind: command, inputs: { rows: rows }, with: { argv: [cp, ${word}], outputs: { out: out } } }
  second: { kind: command, inputs: { in: first.out }, with: { argv: [cp], outputs: { out: out } } }
`;

function writeSpec(word = 'a'): void {
  mkdirSync(join(cwd, 'rows'), { recursive: true });
  writeFileSync(join(cwd, 'rows', 'rows.jsonl'), '{}\n');
  writeFileSync(join(cwd, 'spec.yaml'), spec(word));
}

describe('fretsaw plan', () => {
  it('shows a line a stage and what it all comes to', async () => {
    writeSpec();
    expect(await plan({ spec: 'spec.yaml' }, invocation())).toBe(0);
    expect(output.out).toMatch(/^rows +import +run /m);
    expect(output.out).toMatch(/^second +command +run +\? +never made$/m);
    expect(output.out).toContain('0 hit, 3 to run; nothing is known yet of the cost of 3');
  });

  it('exits 2 with every fault of a spec that is wrong, and as JSON when asked', async () => {
    writeFileSync(
      join(cwd, 'spec.yaml'),
      'fretsaw: v1\nname: x\nstages: { a: { kind: nonsense }, b: { kind: asemble } }\n',
    );
    expect(await plan({ spec: 'spec.yaml' }, invocation())).toBe(2);
    expect(output.err).toContain('spec.yaml:3:22: UNKNOWN_KIND');
    expect(output.err).toContain('did you mean assemble?');
    expect(await plan({ spec: 'spec.yaml' }, invocation(true))).toBe(2);
    expect(JSON.parse(output.out)).toMatchObject({
      diagnostics: [{ code: 'UNKNOWN_KIND' }, { code: 'UNKNOWN_KIND' }],
    });
  });

  it('says that a file is missing, and that a folder is no spec', async () => {
    expect(await plan({ spec: 'none.yaml' }, invocation())).toBe(2);
    expect(await plan({ spec: '.' }, invocation())).toBe(2);
    expect(output.err).toContain('none.yaml:1:1: NO_FILE none.yaml: there is no such file');
    expect(output.err).toContain('NO_FILE .: this is a folder, not a spec');
  });

  it('answers a file of 50 MB at once, unread', async () => {
    writeFileSync(join(cwd, 'big.yaml'), Buffer.alloc(50_000_000, 'a: b\n'));
    const started = performance.now();
    expect(await plan({ spec: 'big.yaml' }, invocation())).toBe(2);
    expect(performance.now() - started).toBeLessThan(500);
    expect(output.err).toContain('TOO_LARGE big.yaml has 50.0 MB');
  });
});

describe('fretsaw plan --against', () => {
  beforeEach(() => {
    git('init', '-q');
    writeSpec('a');
    git('add', '.');
    git('commit', '-q', '-m', 'first');
  });

  it('shows what changed against a git revision', async () => {
    writeSpec('b');
    expect(await plan({ spec: 'spec.yaml', against: 'HEAD' }, invocation())).toBe(0);
    expect(output.out).toContain(
      '~ first\n    with.argv[1]: a -> b\n  second  reads first\nagainst HEAD; 1 unchanged',
    );
  });

  it('says so when nothing did', async () => {
    await plan({ spec: 'spec.yaml', against: 'HEAD' }, invocation());
    expect(output.out).toContain('nothing changed against HEAD');
  });

  it('refuses a revision that git does not know, and a spec that was not there', async () => {
    await expect(plan({ spec: 'spec.yaml', against: 'nowhere' }, invocation())).rejects.toThrow(UsageError);
    writeFileSync(join(cwd, 'new.yaml'), spec('c'));
    await expect(plan({ spec: 'new.yaml', against: 'HEAD' }, invocation())).rejects.toThrow(
      'HEAD has no new.yaml',
    );
  });
});

describe('fretsaw pin', () => {
  const noNetwork = (): Promise<Response> => Promise.reject(new Error('no network in tests'));

  it('writes the digest of a local input into its line, and a second time changes nothing', async () => {
    writeSpec();
    expect(await pin({ spec: 'spec.yaml', inputs: [], isDry: false }, invocation(), noNetwork)).toBe(0);
    const text = readFileSync(join(cwd, 'spec.yaml'), 'utf8');
    expect(text).toMatch(
      /rows: \{ dataset: \.\/rows, digest: sha256:[0-9a-f]{64} \} {3}# where they come from/,
    );
    expect(await pin({ spec: 'spec.yaml', inputs: [], isDry: false }, invocation(), noNetwork)).toBe(0);
    expect(output.out).toContain('is already');
    expect(readFileSync(join(cwd, 'spec.yaml'), 'utf8')).toBe(text);
  });

  it('with --dry-run writes nothing', async () => {
    writeSpec();
    await pin({ spec: 'spec.yaml', inputs: ['rows'], isDry: true }, invocation(), noNetwork);
    expect(output.out).toContain('would pin');
    expect(readFileSync(join(cwd, 'spec.yaml'), 'utf8')).toBe(spec('a'));
  });

  it('pins a Hugging Face repository by commit and digest without reading its weights', async () => {
    const commit = 'c'.repeat(40);
    writeFileSync(join(cwd, 'spec.yaml'), spec('a').replace('dataset: ./rows', 'dataset: hf://owner/rows'));
    const asked: string[] = [];
    const hub = (url: string): Promise<Response> => {
      asked.push(url.replace('https://huggingface.co', ''));
      const files = [
        { type: 'directory', path: 'data' },
        { type: 'file', path: 'README.md', size: 5 },
        { type: 'file', path: 'data/big.parquet', size: 9e9, lfs: { oid: 'd'.repeat(64), size: 9e9 } },
      ];
      if (url.includes('/revision/')) return Promise.resolve(Response.json({ sha: commit }));
      return Promise.resolve(url.includes('/tree/') ? Response.json(files) : new Response('hello'));
    };
    expect(await pin({ spec: 'spec.yaml', inputs: [], isDry: false }, invocation(), hub)).toBe(0);
    expect(readFileSync(join(cwd, 'spec.yaml'), 'utf8')).toMatch(
      new RegExp(`hf://owner/rows, revision: ${commit}, digest: sha256:`),
    );
    expect(asked).toEqual([
      '/api/datasets/owner/rows/revision/main',
      `/api/datasets/owner/rows/tree/${commit}?recursive=true`,
      `/datasets/owner/rows/resolve/${commit}/README.md`,
    ]);
  });

  it('says when the hub does not answer', async () => {
    writeFileSync(join(cwd, 'spec.yaml'), spec('a').replace('dataset: ./rows', 'dataset: hf://owner/rows'));
    await expect(
      pin({ spec: 'spec.yaml', inputs: [], isDry: false }, invocation(), noNetwork),
    ).rejects.toThrow('does not answer');
  });

  it('refuses the name of an input that the file does not have', async () => {
    writeSpec();
    await expect(
      pin({ spec: 'spec.yaml', inputs: ['rwos'], isDry: false }, invocation(), noNetwork),
    ).rejects.toThrow(UsageError);
  });
});

describe('a range of durations', () => {
  it('is told in the unit that fits', () => {
    expect(durationRange({ low: 10, high: 10 })).toBe('10 s');
    expect(durationRange({ low: 0.123, high: 45 })).toBe('0.12-45 s');
    expect(durationRange({ low: 30, high: 600 })).toBe('30 s - 10 min');
    expect(durationRange({ low: 7.2e6, high: 3.6e7 })).toBe('2,000-10,000 h');
  });
});
