import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { evaluateStage } from '../../activities/evaluate-job.ts';
import { runNodeJob, type NodeJob } from '../../activities/node-job.ts';
import { tasksStage } from '../../activities/tasks-job.ts';
import { nanoOnnx } from '../evaluation/golden.ts';
import { root } from '../support/built.ts';
import { startFakeServer } from '../support/fake-openai.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-tasks-job-'));
  mkdirSync(join(home, 'definitions'));
  mkdirSync(join(home, 'published'));
});
afterEach(() => {
  rmSync(home, { recursive: true });
});

const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;
const readJson = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));

async function run(
  stage: (job: NodeJob) => Promise<void>,
  job: { kind: string; outputs: string[]; with: object; inputs: object; resources?: object },
): Promise<{ code: number; events: string }> {
  const folder = join(home, job.kind);
  mkdirSync(folder, { recursive: true });
  const outputs = Object.fromEntries(job.outputs.map((name) => [name, join(folder, 'out', name)]));
  const file = {
    ...{ schema: 'fretsaw/job/v1', key: digest('0'), version: '1', attempt: 1, resources: {} },
    ...{ threads: 1, folder, resume: null, lease: { seconds: 0 } },
    ...{ ...job, outputs },
  };
  writeFileSync(join(folder, 'job.json'), JSON.stringify(file));
  const host = { pid: 1, onStop: () => undefined, exit: () => undefined };
  const code = await runNodeJob(join(folder, 'job.json'), stage, host);
  return { code, events: readFileSync(join(folder, 'events.jsonl'), 'utf8') };
}

/** A task of one published file, judged by another model; and a generated one. */
function writeTasks(): void {
  const rows = ['2 + 2', '1 + 3', '2 + 3', 'unclear'].map((sum, at) => ({
    id: `q${at}`,
    sum,
    answer: 'four',
  }));
  const data = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  writeFileSync(join(home, 'published', 'sums.jsonl'), data);
  const sha256 = createHash('sha256').update(data).digest('hex');
  writeFileSync(
    join(home, 'definitions', 'sums.yaml'),
    `fretsaw: task/v1
name: sums
version: 2
data: { source: published, file: sums.jsonl, sha256: ${sha256} }
prompt: "What is {sum}?"
scorer: { kind: judge, votes: 3 }
efforts: [high]
max_new_tokens: 24
`,
  );
  writeFileSync(
    join(home, 'definitions', 'ruler.yaml'),
    'fretsaw: task/v1\nname: ruler\ndata: { generator: ruler, kinds: [needle], lengths: [400], examples: 2 }\n',
  );
}

const tasksJob = {
  kind: 'tasks',
  outputs: ['data'],
  with: { tasks: [] },
  get inputs() {
    return {
      definitions: { digest: digest('1'), path: join(home, 'definitions') },
      sources: { published: { digest: digest('2'), path: join(home, 'published') } },
      tokenizer: { digest: digest('3'), path: nanoOnnx },
    };
  },
};

it('task files become a data set, and a judge decides its questions, in whole stages', async () => {
  writeTasks();
  const made = await run(tasksStage, tasksJob);
  expect(made.code, made.events).toBe(0);
  const data = join(home, 'tasks', 'out', 'data');
  expect(readJson(join(data, 'tasks.json'))).toMatchObject({
    tasks: [
      { task: 'ruler', questions: 2 },
      { task: 'sums', rows: 4, questions: 4, left_out: 0 },
    ],
  });

  // The judge is of two minds about one question, and answers nonsense to another.
  let doubts = 1;
  const judge = await startFakeServer((_, { question }) => {
    if (question.includes('unclear')) return { kind: 'answer', content: 'banana' };
    const isRight = !question.includes('2 + 3') && !(question.includes('1 + 3') && doubts-- > 0);
    return { kind: 'answer', content: `VERDICT: ${isRight ? 'CORRECT' : 'INCORRECT'}` };
  });
  const checkpoint = join(home, 'checkpoint');
  mkdirSync(checkpoint);
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'config.json'])
    copyFileSync(join(nanoOnnx, name), join(checkpoint, name));
  const server = join(root, 'test', 'support', 'fake-openai-main.ts');
  const launch = [process.execPath, '--import', 'tsx', server, '{port}'];
  const env = { PATH: process.env['PATH'] };
  const evaluated = await run((job) => evaluateStage(job, { env }), {
    kind: 'evaluate',
    outputs: ['results', 'timings'],
    with: { runner: 'endpoint', efforts: ['high'], max_new_tokens: { high: 24 }, judge: 'fake' },
    inputs: {
      model: { digest: digest('4'), path: checkpoint },
      tasks: { digest: digest('5'), path: data },
    },
    resources: { endpoint: { launch, model: 'fake' }, judge: { url: judge.url, model: 'fake' } },
  });
  await judge.close();
  expect(evaluated.code, evaluated.events).toBe(0);
  const results = readJson(join(home, 'evaluate', 'out', 'results', 'results.json')) as { tasks: object[] };
  expect(results.tasks[1]).toMatchObject({
    ...{ task: 'sums', effort: 'high', version: 2, scorers: { judge: 2 }, max_new_tokens: 24 },
    ...{ examples: 4, accuracy: 0.5, errors: 1 },
  });
  expect(results.tasks[0]).toMatchObject({ task: 'ruler needle 400', accuracy: 0, errors: 0 });
  const { judge_disagreement: disagreement } = results.tasks[1] as { judge_disagreement: number };
  expect(disagreement).toBeCloseTo(1 / 9, 12);
}, 60_000);

it('data that is not what a task pins stops the stage', async () => {
  writeTasks();
  writeFileSync(join(home, 'published', 'sums.jsonl'), '{"id": "q0", "sum": "9 + 9", "answer": "18"}\n');
  const { code, events } = await run(tasksStage, tasksJob);
  expect(code).toBe(1);
  expect(events).toMatch(/DIGEST_MISMATCH.*sums\.jsonl: expected sha256/);
});

it('a task that is not there is refused with the names of those that are', async () => {
  writeTasks();
  const { events } = await run(tasksStage, {
    ...tasksJob,
    inputs: tasksJob.inputs,
    with: { tasks: ['sum'] },
  });
  expect(events).toContain('no task sum; there are ruler, sums');
});
