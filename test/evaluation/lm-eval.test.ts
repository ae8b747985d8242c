import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ModelAnswer } from '../../evaluation/model-runner.ts';
import { OnnxRunner } from '../../evaluation/onnx/onnx-runner.ts';
import { isCorrect } from '../../evaluation/scorers.ts';
import { root } from '../support/built.ts';

/** The program of an environment of its own: docs/performance.md, "Evaluation beside lm-evaluation-harness". */
const program = process.env['FRETSAW_LM_EVAL'] ?? '';
const run = promisify(execFile);
const cap = 128;

let home = '';
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-lm-eval-'));
});
afterAll(() => {
  rmSync(home, { recursive: true });
});

interface Asked {
  prompt: string;
  answer: string;
}

/** Held-out questions of the rehearsal's tasks, as the engine draws them. */
async function drawQuestions(): Promise<Asked[]> {
  const code = `
import itertools, json
from fretsaw_engine.rehearsal.tasks import TASKS, read_settings, stream
for task in sorted(TASKS):
    for example in itertools.islice(stream(task, read_settings(task, {}), "heldout", 7), 30):
        print(json.dumps({"prompt": example.prompt, "answer": example.answer}))
`;
  const python = join(root, '.venv', 'bin', 'python');
  const env = { PATH: process.env['PATH'], PYTHONPATH: join(root, 'engine', 'src') };
  const { stdout } = await run(python, ['-c', code], { env });
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Asked);
}

const task = `task: fretsaw_questions
dataset_path: json
dataset_kwargs: { data_files: { test: questions.jsonl } }
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: { until: [], max_gen_toks: ${cap}, temperature: 0, reasoning_effort: high }
metric_list:
  - { metric: exact_match, aggregation: mean, higher_is_better: true, regexes_to_ignore: ["\\\\s"] }
`;

/** exact_match of lm-evaluation-harness, asking `fretsaw serve`. */
async function harnessAccuracy(url: string): Promise<number> {
  const model = ['model=parent', `base_url=${url}/v1/chat/completions`, 'num_concurrent=8'];
  const options = ['tokenized_requests=False', 'eos_string=<|return|>'];
  await run(
    program,
    [
      ...['--model', 'local-chat-completions', '--apply_chat_template', '--include_path', home],
      ...['--tasks', 'fretsaw_questions', '--output_path', join(home, 'out')],
      ...['--model_args', [...model, ...options].join(',')],
    ],
    {
      cwd: home,
      env: { ...process.env, OPENAI_API_KEY: 'none', HF_HUB_OFFLINE: '1', HF_HOME: join(home, 'hf') },
    },
  );
  const folder = join(home, 'out', 'parent');
  const name = readdirSync(folder).find((file) => file.startsWith('results_')) ?? '';
  const found = JSON.parse(readFileSync(join(folder, name), 'utf8')) as {
    results: Record<string, Record<string, number>>;
  };
  return found.results['fretsaw_questions']?.['exact_match,none'] ?? NaN;
}

/** The same questions in this process, scored by `exact`. */
async function ownAccuracy(folder: string, questions: readonly Asked[]): Promise<number> {
  const runner = await OnnxRunner.open(folder, { threads: 1, batchSize: 32 });
  const answers = new Map<string, ModelAnswer>();
  await runner.generate(
    questions.map(({ prompt }, at) => ({
      ...{ id: String(at), messages: [{ role: 'user', content: prompt }], effort: 'high', maxNewTokens: cap },
    })),
    {
      decoding: { kind: 'greedy' },
      onAnswer: (answer) => answers.set(answer.id, answer),
      onTokens: () => undefined,
      shouldStop: () => false,
    },
  );
  await runner.close();
  const right = questions.filter(({ answer }, at) =>
    isCorrect('exact', answer, answers.get(String(at))?.final ?? null),
  );
  return right.length / questions.length;
}

describe.skipIf(program === '')('lm-evaluation-harness (FRETSAW_LM_EVAL)', () => {
  it('gives the committed parent the accuracy that it has here', { timeout: 300_000 }, async () => {
    const questions = await drawQuestions();
    writeFileSync(
      join(home, 'questions.jsonl'),
      questions.map((line) => `${JSON.stringify(line)}\n`).join(''),
    );
    writeFileSync(join(home, 'questions.yaml'), task);
    const parent = join(root, 'specs', 'rehearsal', 'parent');
    const served = join(home, 'served');
    const argv = ['--import', 'tsx', join(root, 'cli', 'main.ts'), 'serve', parent, '--port', '0'];
    const server = spawn(process.execPath, [...argv, '--name', 'parent', '--json'], {
      ...{ cwd: root, env: { ...process.env, FRETSAW_HOME: served }, stdio: ['ignore', 'pipe', 'ignore'] },
    });
    try {
      const lines = createInterface({ input: server.stdout });
      const [first] = await new Promise<[string]>((resolve) =>
        lines.once('line', (line) => {
          resolve([line]);
        }),
      );
      const { url, digest } = JSON.parse(first) as { url: string; digest: string };
      const theirs = await harnessAccuracy(url);
      const ours = await ownAccuracy(join(served, 'served', digest.slice('sha256:'.length)), questions);
      expect(ours).toBeGreaterThan(0.3);
      expect(theirs).toBeCloseTo(ours, 6);
    } finally {
      server.kill('SIGTERM');
    }
  });
});
