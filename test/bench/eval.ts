/**
 * `npm run bench:eval [-- --threads 1 --batch 32 --tokens 96 --repeats 3]`: how many tokens a second the ONNX runner decodes, and how
 * many transformers' `generate` with its fastest expert implementation: the same checkpoint, prompts, batch, number of
 * tokens and threads, turn by turn in one run, both greedy and both past the end of the answer. That they did the same
 * work is checked: the share of equal tokens is printed, and below 99 % the benchmark fails.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ChatPrompts } from '../../evaluation/chat-prompts.ts';
import { JsonFields } from '../../evaluation/json-fields.ts';
import type { AnswerRequest, ModelAnswer } from '../../evaluation/model-runner.ts';
import { OnnxRunner } from '../../evaluation/onnx/onnx-runner.ts';

const root = new URL('../..', import.meta.url).pathname;
const home = join(root, '.fretsaw', 'bench-eval');
const { values: options } = parseArgs({
  options: {
    checkpoint: { type: 'string', default: join(root, 'specs/rehearsal/parent') },
    threads: { type: 'string', default: '1' },
    batch: { type: 'string', default: '32' },
    tokens: { type: 'string', default: '96' },
    repeats: { type: 'string', default: '3' },
  },
});
const [threads, batch, tokens, repeats] = [
  options.threads,
  options.batch,
  options.tokens,
  options.repeats,
].map(Number) as [number, number, number, number];
const python = join(root, '.venv', 'bin', 'python');

interface Measured {
  seconds: number;
  tokenIds: number[][];
}

mkdirSync(home, { recursive: true });
const onnx = exportModel();
const prompts = await ChatPrompts.open(onnx);
const requests = Array.from({ length: batch }, (_, index): AnswerRequest => {
  const [a, b] = [(index * 37 + 11) % 90, (index * 53 + 7) % 90];
  return {
    id: String(index),
    messages: [{ role: 'user', content: `${a}+${b}` }],
    effort: 'high',
    maxNewTokens: tokens,
    ignoresEnd: true,
  };
});
const runner = await OnnxRunner.open(onnx, { threads, batchSize: batch });
await answer(requests);

const lines: string[] = [];
const ratios: number[] = [];
for (let round = 0; round < repeats; round++) {
  const own = await answer(requests);
  const peer = generateWithTransformers();
  const equal = shareEqual(own.tokenIds, peer.tokenIds);
  if (equal < 0.99) throw new Error(`only ${(equal * 100).toFixed(1)} % of the tokens are the same`);
  const [ownRate, peerRate] = [own, peer].map(({ seconds }) => (batch * tokens) / seconds) as [
    number,
    number,
  ];
  ratios.push(ownRate / peerRate);
  lines.push(
    `${round + 1}  ONNX Runtime ${ownRate.toFixed(0)} tokens/s, transformers (grouped_mm) ${peerRate.toFixed(0)} tokens/s, ` +
      `ratio ${(ownRate / peerRate).toFixed(2)}, equal tokens ${(equal * 100).toFixed(1)} %`,
  );
}
await runner.close();
console.log(`${batch} rows, ${tokens} tokens each, ${threads} thread(s), ${options.checkpoint}`);
for (const line of lines) console.log(line);
const sorted = [...ratios].sort((a, b) => a - b);
console.log(`median ratio ${(sorted[Math.floor(sorted.length / 2)] ?? NaN).toFixed(2)}`);

async function answer(asked: readonly AnswerRequest[]): Promise<Measured> {
  const answers = new Map<string, ModelAnswer>();
  const startedMs = performance.now();
  await runner.generate(asked, {
    decoding: { kind: 'greedy' },
    onAnswer: (each) => answers.set(each.id, each),
    onTokens: () => undefined,
    shouldStop: () => false,
  });
  const seconds = (performance.now() - startedMs) / 1000;
  return { seconds, tokenIds: asked.map(({ id }) => [...(answers.get(id)?.tokenIds ?? [])]) };
}

/** One process a round; loading the model and a warm-up are outside the time that it gives. */
function generateWithTransformers(): Measured {
  const asked = join(home, 'prompts.json');
  writeFileSync(
    asked,
    JSON.stringify({
      checkpoint: options.checkpoint,
      threads,
      tokens,
      prompts: requests.map(({ messages, effort }) => prompts.encode(messages, effort)),
    }),
  );
  const text = execFileSync(python, [join(root, 'test/bench/eval_peer.py'), asked], {
    encoding: 'utf8',
    maxBuffer: 1e8,
    env: { ...process.env, PYTHONPATH: join(root, 'engine/src'), OMP_NUM_THREADS: String(threads) },
  });
  const fields = JsonFields.parse(text.trim().split('\n').at(-1) ?? '', 'eval_peer.py');
  const rows = fields.list('token_ids').map((row) => JsonFields.of({ row }, 'row').integers('row'));
  return { seconds: fields.number('seconds'), tokenIds: rows };
}

function shareEqual(a: readonly number[][], b: readonly number[][]): number {
  const same = a.flatMap((row, at) => row.map((id, index): number => (id === b[at]?.[index] ? 1 : 0)));
  return same.reduce((sum, each) => sum + each, 0) / (batch * tokens);
}

/** The kind `export-onnx` on the checkpoint. */
function exportModel(): string {
  const folder = join(home, 'export');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const output = join(folder, 'onnx');
  const job = {
    schema: 'fretsaw/job/v1',
    key: '0'.repeat(64),
    kind: 'export-onnx',
    version: '1',
    attempt: 1,
    with: { kv: 'float' },
    inputs: { model: { digest: 'sha256:checkpoint', path: options.checkpoint } },
    outputs: { onnx: output },
    resources: {},
    threads: 1,
    folder,
    resume: null,
    lease: { seconds: 0 },
  };
  writeFileSync(join(folder, 'job.json'), JSON.stringify(job));
  execFileSync(python, ['-m', 'fretsaw_engine', join(folder, 'job.json')], {
    env: { ...process.env, PYTHONPATH: join(root, 'engine/src') },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (!existsSync(join(output, 'model.onnx')))
    throw new Error(readFileSync(join(folder, 'events.jsonl'), 'utf8'));
  return output;
}
