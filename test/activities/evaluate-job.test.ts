import { execFile, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { evaluateStage } from '../../activities/evaluate-job.ts';
import { runNodeJob, toFailure, type JobHost, type NodeJob } from '../../activities/node-job.ts';
import { artifactDigest } from '../../core/artifact.ts';
import { Failure } from '../../core/errors.ts';
import { readAnswers } from '../../evaluation/answer-record.ts';
import { startServer } from '../../evaluation/server/openai-server.ts';
import { nanoOnnx, readGoldenAnswers } from '../evaluation/golden.ts';
import { startFakeServer } from '../support/fake-openai.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'fretsaw-evaluate-'));
  await mkdir(join(home, 'tasks'));
  const lines = [...new Map(readGoldenAnswers().map((each) => [each.id, each])).values()].map(
    ({ id, messages }, index) => ({
      id,
      task: index % 2 === 0 ? 'even' : 'odd',
      messages,
      answer: '16',
      scorer: index % 2 === 0 ? 'number' : 'exact',
    }),
  );
  await writeFile(
    join(home, 'tasks', 'examples.jsonl'),
    lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
  );
});
afterEach(async () => {
  await rm(home, { recursive: true });
});

const cudaLibraries = new URL('../../node_modules/onnxruntime-node/bin/napi-v6/linux/x64/', import.meta.url)
  .pathname;
const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;

/** Lays an attempt out as the supervisor does; returns its job file. */
async function layOut(attempt: number, changes: Record<string, unknown> = {}): Promise<string> {
  const folder = join(home, 'work', String(attempt));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'lease'), '');
  const job = {
    schema: 'fretsaw/job/v1',
    key: digest('0'),
    kind: 'evaluate',
    version: '1',
    attempt,
    with: { efforts: ['low', 'high'], max_new_tokens: { low: 12, high: 40 }, batch_size: 5, seed: 1 },
    inputs: {
      model: { digest: digest('a'), path: nanoOnnx },
      tasks: { digest: digest('b'), path: join(home, 'tasks') },
    },
    outputs: { results: join(folder, 'out', 'results'), timings: join(folder, 'out', 'timings') },
    resources: {},
    threads: 1,
    folder,
    resume: null,
    lease: { seconds: 0 },
    ...changes,
  };
  await writeFile(join(folder, 'job.json'), JSON.stringify(job));
  return join(folder, 'job.json');
}

class FakeHost implements JobHost {
  readonly pid = 4711;
  readonly exits: number[] = [];
  stop: () => void = () => undefined;
  onStop(callback: () => void): void {
    this.stop = callback;
  }
  exit(code: number): void {
    this.exits.push(code);
  }
}

async function events(attempt: number): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(home, 'work', String(attempt), 'events.jsonl'), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

const read = (attempt: number, path: string): Promise<string> =>
  readFile(join(home, 'work', String(attempt), path), 'utf8');

describe('an evaluation', () => {
  it('leaves results, every answer, timings apart, and a done-manifest that names their bytes', async () => {
    expect(await runNodeJob(await layOut(1), evaluateStage, new FakeHost())).toBe(0);
    const done = JSON.parse(await read(1, 'done.json')) as {
      outputs: Record<string, { path: string; size: number; sha256: string }[]>;
    };
    expect(
      Object.entries(done.outputs).map(([name, files]) => [name, files.map(({ path }) => path)]),
    ).toEqual([
      ['results', ['answers.jsonl', 'results.json']],
      ['timings', ['timings.json']],
    ]);
    for (const { path, size, sha256 } of done.outputs['results'] ?? []) {
      const bytes = await readFile(join(home, 'work', '1', 'out', 'results', path));
      expect([bytes.length, createHash('sha256').update(bytes).digest('hex')]).toEqual([size, sha256]);
    }
    const results = JSON.parse(await read(1, 'out/results/results.json')) as Record<
      string,
      Record<string, unknown>[]
    >;
    expect(results['tasks']?.map((cell) => [cell['task'], cell['effort'], cell['examples']])).toEqual([
      ['even', 'low', 6],
      ['even', 'high', 6],
      ['odd', 'low', 6],
      ['odd', 'high', 6],
    ]);
    expect(results['tasks']?.[1]).toMatchObject({
      ...{ version: 1, scorers: { number: 1 }, max_new_tokens: 40 },
      questions: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) as string,
    });
    expect(results['tasks']?.[0]?.['questions']).not.toBe(results['tasks']?.[2]?.['questions']);
    expect(results['suite']?.map((cell) => cell['effort'])).toEqual(['low', 'high']);
    const told = await events(1);
    expect(told.at(0)).toMatchObject({ event: 'started', pid: 4711, kind: 'evaluate', attempt: 1, rank: 0 });
    expect(told.filter(({ event }) => event === 'progress').at(-1)).toMatchObject({
      step: 24,
      total: 24,
      unit: 'answers',
    });
    expect(told.at(-1)).toMatchObject({ event: 'done' });
  });

  it('gives the same bytes again, and no time, host or path is in them', async () => {
    await runNodeJob(await layOut(1), evaluateStage, new FakeHost());
    const first = [await read(1, 'out/results/results.json'), await read(1, 'out/results/answers.jsonl')];
    await rm(join(home, 'work'), { recursive: true });
    await runNodeJob(await layOut(7), evaluateStage, new FakeHost());
    expect([await read(7, 'out/results/results.json'), await read(7, 'out/results/answers.jsonl')]).toEqual(
      first,
    );
    expect(first.join('')).not.toContain(home);
  });

  it('that is stopped is gone on with from its snapshot, and repeats no answer', async () => {
    await runNodeJob(await layOut(1), evaluateStage, new FakeHost());
    const [results, answers] = [
      await read(1, 'out/results/results.json'),
      await read(1, 'out/results/answers.jsonl'),
    ];
    await rm(join(home, 'work'), { recursive: true });

    const host = new FakeHost();
    const jobFile = await layOut(1);
    const running = runNodeJob(jobFile, (job) => evaluateStage(stoppedAfter(job, host, 6)), host);
    expect(await running).toBe(75);
    expect((await events(1)).at(-1)).toMatchObject({ event: 'failed', code: 'PREEMPTED' });
    const [step = ''] = (await readdir(join(home, 'work', '1', 'snapshots'))).filter(
      (name) => !name.startsWith('.'),
    );
    expect(Number(step)).toBeGreaterThanOrEqual(6);
    expect(Number(step)).toBeLessThan(24);

    await cp(join(home, 'work', '1', 'snapshots', step), join(home, 'elsewhere'), { recursive: true });
    await rm(join(home, 'work'), { recursive: true });
    const resume = { path: join(home, 'elsewhere'), step: Number(step) };
    expect(await runNodeJob(await layOut(2, { resume }), evaluateStage, new FakeHost())).toBe(0);
    expect(await read(2, 'out/results/results.json')).toBe(results);
    expect(await read(2, 'out/results/answers.jsonl')).toBe(answers);
    const saved = readAnswers(await readFile(join(home, 'elsewhere', 'answers.jsonl'), 'utf8'), '');
    const all = readAnswers(answers, '');
    const spent = await timings(2);
    // Rows that were cut short by the stop are written a second time; a finished answer never is.
    expect(spent.tokens).toBeGreaterThanOrEqual(sum(all));
    expect((await events(2)).find(({ event }) => event === 'progress')).toMatchObject({
      step: saved.length,
      total: 24,
    });
    expect(spent.tokens_per_second).toBeCloseTo(spent.tokens / spent.seconds, 6);
  });

  it('that was killed is gone on with from what it had written on this host, but for a half line', async () => {
    await runNodeJob(await layOut(1), evaluateStage, new FakeHost());
    const answers = await read(1, 'out/results/answers.jsonl');
    const partial = join(home, 'work', '1', 'answers.partial.jsonl');
    const lines = (await readFile(partial, 'utf8')).split('\n');
    await writeFile(partial, `${lines.slice(0, 20).join('\n')}\n${lines[20]?.slice(0, 30) ?? ''}`);
    expect(await runNodeJob(await layOut(2), evaluateStage, new FakeHost())).toBe(0);
    expect(await read(2, 'out/results/answers.jsonl')).toBe(answers);
    expect((await events(2)).find(({ event }) => event === 'progress')).toMatchObject({
      step: 20,
      total: 24,
    });
  });

  it('whose answers an earlier attempt has all written keeps their timings', async () => {
    await runNodeJob(await layOut(1), evaluateStage, new FakeHost());
    const first = await timings(1);
    await runNodeJob(await layOut(2), evaluateStage, new FakeHost());
    expect((await timings(2)).tokens).toBe(first.tokens);
    expect(first.tokens).toBe(sum(readAnswers(await read(1, 'out/results/answers.jsonl'), '')));
  });

  it('asks again for what stands in a damaged file', async () => {
    await runNodeJob(await layOut(1), evaluateStage, new FakeHost());
    await writeFile(join(home, 'work', '1', 'answers.partial.jsonl'), '{"id": 3}\n');
    expect(await runNodeJob(await layOut(2), evaluateStage, new FakeHost())).toBe(0);
    expect(await read(2, 'out/results/answers.jsonl')).toBe(await read(1, 'out/results/answers.jsonl'));
  });

  it('decodes on the GPU that a stage asks for, and says what is missing where it cannot', async () => {
    const isThere = existsSync(join(cudaLibraries, 'libonnxruntime_providers_cuda.so'));
    const code = await runNodeJob(await layOut(1, { resources: { gpus: 1 } }), evaluateStage, new FakeHost());
    if (isThere && code === 0) {
      expect(JSON.parse(await read(1, 'out/timings/timings.json'))).toMatchObject({
        runner: 'onnxruntime-node, CUDA',
      });
      return;
    }
    expect((await events(1)).at(-1)).toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringMatching(/cannot open model\.onnx on cuda: .*CUDA libraries come with/) as string,
    });
  });

  it.each([
    ['an unknown setting', { with: { effort: ['low'] } }, 'unknown keys effort'],
    ['an effort without a cap', { with: { efforts: ['extreme'] } }, 'no cap for effort extreme'],
    ['a missing input', { inputs: {} }, 'input model: expected one artifact, found none'],
    [
      'a model that is not there',
      {
        inputs: {
          model: { digest: digest('a'), path: '/nowhere' },
          tasks: { digest: digest('b'), path: '/nowhere' },
        },
      },
      'no examples.jsonl',
    ],
  ])('refuses %s as BAD_INPUT', async (_, changes, message) => {
    expect(await runNodeJob(await layOut(1, changes), evaluateStage, new FakeHost())).toBe(1);
    const failed = (await events(1)).at(-1);
    expect(failed).toMatchObject({ event: 'failed', code: 'BAD_INPUT' });
    expect(failed?.['message']).toContain(message);
    await expect(read(1, 'done.json')).rejects.toThrow('ENOENT');
  });
});

describe('an evaluation of a server', () => {
  const at = (endpoint: object): Record<string, unknown> => ({
    with: {
      efforts: ['low', 'high'],
      max_new_tokens: { low: 12, high: 40 },
      batch_size: 5,
      runner: 'endpoint',
    },
    resources: { endpoint: { model: 'model', ...endpoint } },
  });

  it('that the job starts on the verified files gives every answer that the model gives in process', async () => {
    await runNodeJob(await layOut(1), evaluateStage, new FakeHost());
    const answers = await read(1, 'out/results/answers.jsonl');
    await rm(join(home, 'work'), { recursive: true });
    const root = new URL('../..', import.meta.url).pathname;
    const launch = [
      ...[process.execPath, '--import', 'tsx', join(root, 'cli', 'main.ts'), 'serve', '{model}'],
      ...['--port', '{port}', '--name', 'model', '--batch', '8'],
    ];
    const environment = { env: { PATH: process.env['PATH'], FRETSAW_HOME: join(home, 'served') } };
    const stage = (job: NodeJob): Promise<void> => evaluateStage(job, environment);
    const inputs = {
      model: { digest: await servedDigest(), path: nanoOnnx },
      tasks: { digest: digest('b'), path: join(home, 'tasks') },
    };
    expect(await runNodeJob(await layOut(1, { ...at({ launch }), inputs }), stage, new FakeHost())).toBe(0);
    const strip = (text: string): unknown[] =>
      readAnswers(text, '').map(({ id, effort, token_ids, final, capped }) => ({
        id,
        effort,
        token_ids,
        final,
        capped,
      }));
    expect(strip(await read(1, 'out/results/answers.jsonl'))).toEqual(strip(answers));
    expect(JSON.parse(await read(1, 'out/timings/timings.json'))).toMatchObject({
      runner: 'openai-endpoint',
      served: { kind: 'probed', answers: 4 },
    });
  }, 60_000);

  it('that was killed by force asks no finished question again', async () => {
    const questions = Array.from({ length: 300 }, (_, at) => ({
      ...{ id: `q${at}`, task: 'sums', answer: '1', scorer: 'exact' },
      messages: [{ role: 'user', content: `${at}+1` }],
    }));
    const tasks = join(home, 'tasks', 'examples.jsonl');
    await writeFile(tasks, questions.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const served = await startServer({
      ...{ folder: nanoOnnx, name: 'model', digest: digest('a'), host: '127.0.0.1', port: 0 },
      ...{ threads: 1, batchSize: 4, queueSize: 400, maxNewTokens: 64 },
    });
    const asked = await countQuestions(served.url, 12);
    const job = {
      with: { efforts: ['low'], max_new_tokens: { low: 12 }, batch_size: 5, runner: 'endpoint' },
      resources: { endpoint: { model: 'model', url: asked.url, concurrency: 4 } },
    };
    const child = start(await layOut(1, job));
    const exited = once(child, 'exit');
    await vi.waitFor(
      async () => {
        expect((await read(1, 'answers.partial.jsonl')).split('\n').length).toBeGreaterThan(20);
      },
      { timeout: 60_000, interval: 5 },
    );
    child.kill('SIGKILL');
    expect(await exited).toEqual([null, 'SIGKILL']);
    const whole = (await read(1, 'answers.partial.jsonl')).split('\n').slice(0, -1);
    const finished = whole.map((line) => (JSON.parse(line) as { id: string }).id);
    expect(finished.length).toBeLessThan(questions.length);

    const before = new Map(asked.times);
    expect(await runNodeJob(await layOut(2, job), evaluateStage, new FakeHost())).toBe(0);
    const content = new Map(questions.map(({ id, messages }) => [id, messages[0]?.content ?? '']));
    for (const id of finished) expect([id, asked.times.get(content.get(id) ?? '')]).toEqual([id, 1]);
    // Those that were open when it was killed, four at most, were asked twice.
    const twice = [...asked.times.values()].filter((times) => times > 1).length;
    expect(twice).toBeLessThanOrEqual(4);
    expect(before.size).toBeGreaterThanOrEqual(finished.length);
    expect(readAnswers(await read(2, 'out/results/answers.jsonl'), '')).toHaveLength(questions.length);
    await asked.close();
    await served.close();
  }, 120_000);

  it('that is another model is refused before a question is asked', async () => {
    const other = await startFakeServer(() => ({ kind: 'answer', content: '16' }));
    await runNodeJob(await layOut(1, at({ url: other.url, model: 'fake' })), evaluateStage, new FakeHost());
    expect((await events(1)).at(-1)).toMatchObject({ event: 'failed', code: 'DIGEST_MISMATCH' });
    expect(other.asked.length).toBeLessThanOrEqual(4);
    await other.close();
  });

  it('that is not there is ENDPOINT_DOWN, to be tried again', async () => {
    const jobFile = await layOut(1, at({ url: 'http://127.0.0.1:9' }));
    expect(await runNodeJob(jobFile, evaluateStage, new FakeHost())).toBe(1);
    expect((await events(1)).at(-1)).toMatchObject({ event: 'failed', code: 'ENDPOINT_DOWN' });
  });

  it('whose start fails says its last words', async () => {
    const launch = [process.execPath, '-e', 'console.error("no such weights"); process.exit(3)'];
    await runNodeJob(await layOut(1, at({ launch })), evaluateStage, new FakeHost());
    const failed = (await events(1)).at(-1);
    expect(failed).toMatchObject({ code: 'ENDPOINT_DOWN' });
    expect(failed?.['message']).toMatch(/ended with 3: no such weights/);
  });

  it('needs to be told where it is', async () => {
    await runNodeJob(await layOut(1, { ...at({}), resources: {} }), evaluateStage, new FakeHost());
    expect((await events(1)).at(-1)).toMatchObject({ code: 'BAD_INPUT' });
  });
});

async function servedDigest(): Promise<string> {
  const files = (await readdir(nanoOnnx)).map((path) => {
    const bytes = readFileSync(join(nanoOnnx, path));
    return { path, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  });
  return artifactDigest(files, (text) => createHash('sha256').update(text).digest('hex'));
}

describe('a job in Node', () => {
  const forever = (job: NodeJob): Promise<void> =>
    new Promise((resolve) => {
      const timer = setInterval(() => {
        if (!job.shouldStop) return;
        clearInterval(timer);
        resolve();
      }, 5);
    });

  it('ends itself when nobody renews its lease', async () => {
    const jobFile = await layOut(1, { lease: { seconds: 0.2 } });
    await utimes(join(home, 'work', '1', 'lease'), new Date(0), new Date(0));
    const host = new FakeHost();
    host.exit = (code) => {
      host.exits.push(code);
      host.stop();
    };
    await runNodeJob(jobFile, forever, host);
    expect(host.exits).toEqual([76]);
    expect(await events(1)).toContainEqual(
      expect.objectContaining({ event: 'failed', code: 'LEASE_LOST' }) as unknown,
    );
  });

  it.each([
    [new Failure('NAN_LOSS', 'no'), 'NAN_LOSS'],
    [Object.assign(new Error('no space left'), { code: 'ENOSPC' }), 'DISK_FULL'],
    [new RangeError('Array buffer allocation failed'), 'OUT_OF_MEMORY'],
    [new Error('std::bad_alloc'), 'OUT_OF_MEMORY'],
    [new TypeError('x is undefined'), 'ENGINE_BUG'],
    ['thrown text', 'ENGINE_BUG'],
  ])('calls %s %s', (error, code) => {
    expect(toFailure(error).code).toBe(code);
  });

  it('refuses a job file with a key that it does not know', async () => {
    const jobFile = await layOut(1, { colour: 'red' });
    await expect(runNodeJob(jobFile, forever, new FakeHost())).rejects.toThrow('unknown keys colour');
  });

  it('runs as a process of its own, and SIGTERM stops it with a snapshot', async () => {
    // A thousand questions one after another: seconds of work, of which the first is enough.
    const tasks = join(home, 'tasks', 'examples.jsonl');
    const lines = (await readFile(tasks, 'utf8')).trimEnd().split('\n');
    const many = Array.from(
      { length: 1000 },
      (_, at) => ({ ...JSON.parse(lines[at % lines.length] ?? ''), id: `question ${at}` }) as object,
    );
    await writeFile(tasks, many.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const jobFile = await layOut(1, {
      with: { max_new_tokens: { low: 40, medium: 40, high: 40 }, batch_size: 1 },
    });
    const child = start(jobFile);
    const exited = once(child, 'exit');
    await vi.waitFor(
      async () => {
        expect(await read(1, 'answers.partial.jsonl')).not.toBe('');
      },
      { timeout: 20_000 },
    );
    child.kill('SIGTERM');
    expect(await exited).toEqual([75, null]);
    expect((await events(1)).slice(-2)).toMatchObject([
      { event: 'snapshot' },
      { event: 'failed', code: 'PREEMPTED' },
    ]);
  });

  it('of a kind that does not run in Node is refused', async () => {
    const child = start(await layOut(1, { kind: 'nonsense' }));
    expect(await once(child, 'exit')).toEqual([1, null]);
    expect((await events(1)).at(-1)).toMatchObject({
      code: 'BAD_INPUT',
      message: 'no kind nonsense runs in Node',
    });
  });
});

/** Passes everything on to a server, and counts how often each question was asked with this cap; probes have another. */
async function countQuestions(
  target: string,
  cap: number,
): Promise<{ url: string; times: Map<string, number>; close: () => Promise<void> }> {
  const times = new Map<string, number>();
  const proxy = createServer((incoming, outgoing) => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part);
      const body = Buffer.concat(parts);
      if (incoming.method === 'POST') {
        const { max_tokens, messages } = JSON.parse(body.toString()) as {
          max_tokens: number;
          messages: { content: string }[];
        };
        const question = messages.at(-1)?.content ?? '';
        if (max_tokens === cap) times.set(question, (times.get(question) ?? 0) + 1);
      }
      const { method, headers } = incoming;
      const passed = request(`${target}${incoming.url ?? ''}`, { method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      });
      passed.once('error', () => outgoing.destroy());
      outgoing.once('close', () => passed.destroy());
      passed.end(body);
    })();
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    times,
    close: async () => {
      proxy.close();
      proxy.closeAllConnections();
      await once(proxy, 'close');
    },
  };
}

function start(jobFile: string): ChildProcess {
  const root = new URL('../..', import.meta.url).pathname;
  return execFile(process.execPath, ['--import', 'tsx', join(root, 'workers', 'job.ts'), jobFile], {
    cwd: root,
  });
}

const sum = (records: readonly { tokens: number }[]): number =>
  records.reduce((total, { tokens }) => total + tokens, 0);

async function timings(
  attempt: number,
): Promise<{ tokens: number; seconds: number; tokens_per_second: number }> {
  return JSON.parse(await read(attempt, 'out/timings/timings.json')) as Awaited<ReturnType<typeof timings>>;
}

/** The same job, asked to stop as soon as so many answers are written: looked at between any two tokens. */
function stoppedAfter(job: NodeJob, host: FakeHost, answers: number): NodeJob {
  const partial = join(job.file.folder, 'answers.partial.jsonl');
  let isAsked = false;
  Object.defineProperty(job, 'shouldStop', {
    get: () => {
      isAsked ||= readAnswers(readFileSync(partial, 'utf8'), partial).length >= answers;
      if (isAsked) host.stop();
      return isAsked;
    },
  });
  return job;
}
