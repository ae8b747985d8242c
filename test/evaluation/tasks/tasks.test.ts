import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChatPrompts } from '../../../evaluation/chat-prompts.ts';
import { scoreNow } from '../../../evaluation/scorers/score.ts';
import { readTaskExamples, type TaskExample } from '../../../evaluation/task-examples.ts';
import { makeTask, parseTask, readTaskFiles, type MadeTask } from '../../../evaluation/tasks/task-file.ts';
import { generateRuler, rulerKinds } from '../../../evaluation/tasks/ruler.ts';
import { nanoOnnx } from '../golden.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'fretsaw-tasks-'));
});
afterEach(() => {
  rmSync(home, { recursive: true });
});

const countTokens = (text: string): number => text.split(/\s+/).length;

function put(name: string, content: string | Uint8Array): string {
  const path = join(home, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return createHash('sha256').update(content).digest('hex');
}

/** Makes a task of one published file; its questions read back as `evaluate` reads them. */
async function adapt(
  adapter: string,
  file: string,
  content: string | Uint8Array,
): Promise<{ made: MadeTask; examples: TaskExample[] }> {
  const sha256 = put(file, content);
  const text = `fretsaw: task/v1\nname: t\ndata: { source: s, file: ${file}, sha256: ${sha256}, adapter: ${adapter} }\n`;
  const made = await makeTask(parseTask(text, 't.yaml'), {
    definitions: home,
    sources: { s: home },
    countTokens,
  });
  put('out/examples.jsonl', made.lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return { made, examples: await readTaskExamples(join(home, 'out')) };
}

const isRight = (example: TaskExample | undefined, final: string): boolean | undefined =>
  example === undefined ? undefined : scoreNow(example, final)?.isCorrect;

const jsonl = (...rows: object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

describe('a published file', () => {
  it('of MMLU-Pro is Parquet with up to ten options', async () => {
    const options = ['red', 'green', 'blue', 'white', 'black', 'grey', 'pink', 'brown', 'gold', 'teal'];
    const buffer = parquetWriteBuffer({
      columnData: [
        { name: 'question_id', data: [70n], type: 'INT64' },
        { name: 'question', data: ['Which is the colour of grass?'], type: 'STRING' },
        { name: 'options', data: [options], type: 'JSON' },
        { name: 'answer', data: ['B'], type: 'STRING' },
        { name: 'answer_index', data: [1n], type: 'INT64' },
        { name: 'category', data: ['other'], type: 'STRING' },
      ],
    });
    const { examples } = await adapt('mmlu-pro', 'test.parquet', new Uint8Array(buffer));
    expect(examples[0]).toMatchObject({ id: 't/70', answer: 'B', scorer: { kind: 'choice', choices: 10 } });
    expect(examples[0]?.messages[0]?.content).toContain('(J) teal');
    expect(isRight(examples[0], 'The answer is (B).')).toBe(true);
    expect(isRight(examples[0], 'The answer is (C).')).toBe(false);
  });

  it('of GPQA is CSV whose right answer comes first; here it does not, in an order that stays', async () => {
    const header =
      'Record ID,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3';
    const rows = Array.from(
      { length: 40 },
      (_, n) => `rec${n},"What, of ""these""\nis right?",yes ,no,never,nay`,
    );
    const content = `${[header, ...rows].join('\n')}\n`;
    const first = await adapt('gpqa-diamond', 'gpqa_diamond.csv', content);
    const letters = first.examples.map(({ answer }) => answer);
    expect(new Set(letters)).toEqual(new Set(['A', 'B', 'C', 'D']));
    for (const example of first.examples)
      expect(example.messages[0]?.content).toContain(`(${example.answer}) yes`);
    expect((await adapt('gpqa-diamond', 'gpqa_diamond.csv', content)).examples).toEqual(first.examples);
  });

  it('of AIME is JSON lines with a question or a problem, its answer a number or text', async () => {
    const { examples } = await adapt(
      'aime-25',
      'test.jsonl',
      jsonl(
        { question: 'What is $6 \\cdot 7$?', answer: '42' },
        { problem: 'And 1+1?', answer: 2, id: 7 },
        { question: 'Find the angle.', answer: '336^\\circ' },
      ),
    );
    expect(isRight(examples[2], 'It is \\boxed{336}.')).toBe(true);
    expect(isRight(examples[2], 'It is \\boxed{336^\\circ}.')).toBe(true);
    expect(isRight(examples[2], 'It is \\boxed{24}.')).toBe(false);
    expect(isRight(examples[0], 'so it is \\boxed{42}')).toBe(true);
    expect(isRight(examples[0], 'so it is \\boxed{43}')).toBe(false);
    expect(examples[1]?.id).toBe('t/7');
  });

  it('of HLE has pictures, which are left out and counted, and answers that a judge reads', async () => {
    const row = { question: 'Who?', image: '', answer: 'Ada', answer_type: 'exactMatch' };
    const { made, examples } = await adapt(
      'hle',
      'hle.jsonl',
      jsonl(
        { ...row, id: 'a' },
        { ...row, id: 'b', image: 'data:image/png;base64,xx' },
        { ...row, id: 'c', answer_type: 'multipleChoice', answer: 'D' },
      ),
    );
    expect(made).toMatchObject({ rows: 3, leftOut: 1 });
    expect(examples.map(({ scorer }) => scorer.kind)).toEqual(['judge', 'choice']);
  });

  it('of SciCode has steps, each on top of those before; steps with HDF5 targets are left out', async () => {
    const step = (number: string, extra: object): object => ({
      step_number: number,
      step_description_prompt: `Write f${number}.`,
      function_header: 'def f(x):\n    """x"""',
      return_line: '    return y',
      ground_truth_code: `def g${number.replace('.', '_')}(x): return x`,
      test_cases: ['assert f(1) == 2'],
      ...extra,
    });
    const { examples } = await adapt(
      'scicode',
      'problems_all.jsonl',
      jsonl({
        problem_id: '1',
        required_dependencies: 'import math',
        sub_steps: [step('1.1', {}), step('1.2', { test_cases: ['assert f(1) == target'] }), step('1.3', {})],
      }),
    );
    expect(examples.map(({ id }) => id)).toEqual(['t/1.1', 't/1.3']);
    expect(examples[1]?.scorer).toMatchObject({
      kind: 'code',
      prelude: 'import math\n\ndef g1_1(x): return x\n\ndef g1_2(x): return x',
      tests: 'assert f(1) == 2',
    });
  });

  it('of SciCode leaves out steps whose earlier code is not published: they would be asked for without it', async () => {
    const step = (number: string, code: string | undefined): object => ({
      ...{ step_number: number, step_description_prompt: 'Write f.', function_header: 'def f(x):' },
      ...{ return_line: '    return y', ground_truth_code: code, test_cases: ['assert f(1) == 2'] },
    });
    const { examples } = await adapt(
      'scicode',
      'problems_all.jsonl',
      jsonl({
        problem_id: '1',
        required_dependencies: '',
        sub_steps: [step('1.1', 'def a(): pass'), step('1.2', undefined), step('1.3', 'def c(): pass')],
      }),
    );
    expect(examples.map(({ id }) => id)).toEqual(['t/1.1', 't/1.2']);
  });

  it('of IFBench has instructions with arguments; rows that no check covers whole are left out and counted', async () => {
    const { made, examples } = await adapt(
      'ifbench',
      'IFBench_test.jsonl',
      jsonl(
        {
          key: '0',
          prompt: 'Say it in two words.',
          instruction_id_list: ['count:word_count_range'],
          kwargs: [{ N: null, min_words: 2, max_words: 2 }],
        },
        { key: '1', prompt: 'x', instruction_id_list: ['words:start_verb'], kwargs: [{}] },
      ),
    );
    expect(made).toMatchObject({ rows: 2, leftOut: 1 });
    expect(isRight(examples[0], 'two words')).toBe(true);
    expect(isRight(examples[0], 'one')).toBe(false);
  });

  it('of AA-LCR is CSV beside its documents', async () => {
    put('lcr/Company_Documents/set_1/report.txt', 'Revenue was 7.');
    // As unzip writes the name of “EU’s notes.txt”.
    put('lcr/Company_Documents/set_1/EU\u0393\u00c7\u00d6s notes.txt', 'Costs were 5.');
    const csv =
      ',document_category,document_set_id,question_id,question,answer,data_source_filenames,data_source_urls,input_tokens\n' +
      '0,Company_Documents,set_1,1,What was the profit?,2,report.txt;EU\u2019s notes.txt,https://a;https://b,94494\n';
    const { examples } = await adapt('aa-lcr', 'AA-LCR_Dataset.csv', csv);
    expect(examples[0]?.messages[0]?.content).toBe(`BEGIN INPUT DOCUMENTS

BEGIN DOCUMENT 1:
Revenue was 7.
END DOCUMENT 1

BEGIN DOCUMENT 2:
Costs were 5.
END DOCUMENT 2

END INPUT DOCUMENTS

Answer the following question using the input documents provided above.

START QUESTION

What was the profit?

END QUESTION
`);
    rmSync(join(home, 'lcr'), { recursive: true });
    await expect(adapt('aa-lcr', 'AA-LCR_Dataset.csv', csv)).rejects.toThrow('AA-LCR: no text of report.txt');
    put('extracted_text/lcr/Company_Documents/set_1/report.txt.txt', 'Revenue was 7.');
    put('extracted_text/lcr/Company_Documents/set_1/EU\u2019s notes.txt', 'Costs were 5.');
    expect((await adapt('aa-lcr', 'AA-LCR_Dataset.csv', csv)).examples).toEqual(examples);
    expect(examples[0]?.scorer.kind).toBe('judge');
  });

  it('of RULER has inputs with all outputs that must be recalled', async () => {
    const { examples } = await adapt(
      'ruler',
      'validation.jsonl',
      jsonl({ index: 0, input: 'Text. What are the numbers?', outputs: ['12', '34'], length: 9 }),
    );
    expect(isRight(examples[0], '34 and 12')).toBe(true);
    expect(isRight(examples[0], '34')).toBe(false);
    const { examples: asked } = await adapt(
      'ruler-qa',
      'validation.jsonl',
      jsonl({
        index: 0,
        input: 'Where?',
        outputs: ['Paris', 'the capital'],
        length: 9,
        answer_prefix: ' Answer:',
      }),
    );
    expect(isRight(asked[0], 'It is Paris.')).toBe(true);
    expect(isRight(asked[0], 'It is Rome.')).toBe(false);
  });

  it.each([
    ['that is cut off', 'aime-25', 'a.jsonl', '{"question": "x', 'not jsonl'],
    ['without rows', 'aime-25', 'a.jsonl', '', 'no rows'],
    ['of another format', 'aime-25', 'a.txt', 'x', 'expected .jsonl'],
    ['that is no Parquet', 'mmlu-pro', 'a.parquet', 'not parquet at all', 'not parquet'],
    [
      'with an id twice',
      'ruler',
      'a.jsonl',
      jsonl({ index: 1, input: 'x', outputs: ['y'] }, { index: 1, input: 'x', outputs: ['y'] }),
      'id 1 stands there twice',
    ],
    ['that lacks a field', 'ifbench', 'a.jsonl', '{"key": 1}\n', 'instruction_id_list'],
  ])('%s is refused', async (...[, adapter, file, content, message]) => {
    await expect(adapt(adapter, file, content)).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringContaining(message) as string,
    });
  });
});

describe('a task file', () => {
  const folders = (): Parameters<typeof makeTask>[1] => ({ definitions: home, sources: {}, countTokens });

  it('has prompt, scorer, samples, efforts and cap, and pins its data', async () => {
    const sha256 = put('sums.jsonl', jsonl({ id: 'x', a: 1, b: 2, answer: '3' }));
    put(
      'sums.yaml',
      `fretsaw: task/v1\nname: sums\nversion: 3\ndata: { file: sums.jsonl, sha256: ${sha256} }\nprompt: "{a}+{b}"\nscorer: number\nsamples: 4\nefforts: [high]\nmax_new_tokens: 9\n`,
    );
    const [task] = await readTaskFiles(home);
    if (task === undefined) throw new Error('no task');
    expect((await makeTask(task, folders())).lines).toEqual([
      {
        id: 'sums/x',
        task: 'sums',
        task_version: 3,
        messages: [{ role: 'user', content: '1+2' }],
        answer: '3',
        scorer: { kind: 'number' },
        samples: 4,
        efforts: ['high'],
        max_new_tokens: 9,
      },
    ]);
    put('sums.jsonl', jsonl({ id: 'x', a: 1, b: 3, answer: '4' }));
    await expect(makeTask(task, folders())).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  it.each([
    ['an unknown key', 'fretsaw: task/v1\nname: t\ncolour: red', 'unknown keys colour'],
    [
      'an unknown adapter',
      'fretsaw: task/v1\nname: t\ndata: { file: x, sha256: y, adapter: arc }',
      'unknown adapter arc',
    ],
    ['no scorer', 'fretsaw: task/v1\nname: t\ndata: { file: x, sha256: y }', 'needs prompt and scorer'],
    ['an unknown version', 'fretsaw: task/v2\nname: t', 'not task/v1'],
    ['text that is no YAML', 'fretsaw: [', 't.yaml'],
  ])('with %s is refused', (_, text, message) => {
    expect(() => parseTask(text, 't.yaml')).toThrow(message);
  });

  it('of a name that another has is refused', async () => {
    const text = 'fretsaw: task/v1\nname: same\ndata: { generator: ruler, lengths: [9], examples: 1 }\n';
    put('a.yaml', text);
    put('b.yaml', text);
    await expect(readTaskFiles(home)).rejects.toThrow('task same stands there twice');
  });
});

describe('generated long-context questions', () => {
  const made = generateRuler({ kinds: rulerKinds, lengths: [300, 4000], examples: 2, seed: 1, countTokens });

  it('are as long as they may be and no longer', () => {
    for (const { prompt, length } of made) {
      expect(countTokens(prompt)).toBeLessThanOrEqual(length);
      expect(countTokens(prompt)).toBeGreaterThan(length * 0.9);
    }
  });

  it('are of 128K tokens by a real tokenizer, with few counts of it', async () => {
    const prompts = await ChatPrompts.open(nanoOnnx);
    let counts = 0;
    const byTokenizer = (text: string): number => {
      counts++;
      return prompts.encode([{ role: 'user', content: text }], 'high').length;
    };
    const kinds = ['needle', 'variable-tracking'] as const;
    const long = generateRuler({ kinds, lengths: [131072], examples: 1, seed: 1, countTokens: byTokenizer });
    expect(counts).toBeLessThanOrEqual(24);
    for (const { prompt, answer } of long) {
      const tokens = byTokenizer(prompt);
      expect(tokens).toBeLessThanOrEqual(131072);
      expect(tokens).toBeGreaterThan(131072 - 16);
      for (const reference of answer.split(', ')) expect(prompt).toContain(reference);
    }
  }, 60_000);

  it('hold their answer, and are the same from the same seed', () => {
    for (const { prompt, answer } of made)
      for (const reference of answer.split(', ')) expect(prompt).toContain(reference);
    expect(
      generateRuler({ kinds: rulerKinds, lengths: [300, 4000], examples: 2, seed: 1, countTokens }),
    ).toEqual(made);
    const other = generateRuler({
      kinds: rulerKinds,
      lengths: [300, 4000],
      examples: 2,
      seed: 2,
      countTokens,
    });
    expect(other.map(({ answer }) => answer)).not.toEqual(made.map(({ answer }) => answer));
  });

  it('count words that no other comes near', () => {
    for (const { prompt, answer, kind } of made) {
      if (kind !== 'counting') continue;
      const counts = new Map<string, number>();
      for (const [, word = ''] of prompt.matchAll(/\d+\. (\w+)/g))
        counts.set(word, (counts.get(word) ?? 0) + 1);
      const ranked = [...counts].sort(([, a], [, b]) => b - a);
      expect(new Set(ranked.slice(0, 3).map(([word]) => word))).toEqual(new Set(answer.split(', ')));
      expect(ranked[2]?.[1]).toBeGreaterThan(ranked[3]?.[1] ?? 0);
    }
  });
});
