import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../../core/errors.ts';
import type { JsonFields } from '../json-fields.ts';
import { isCheckable } from '../scorers/format-checks.ts';

/** A question as examples.jsonl has it, without what its task adds. */
export interface Question {
  id: string;
  prompt: string;
  answer: string;
  scorer: object;
}

export interface AdapterContext {
  /** The folder of the published files. */
  folder: string;
  /** Instructions given to every question of a task; each adapter has its benchmark's own. */
  instruction: string | undefined;
}

/** Several questions where a row holds several (SciCode's steps); none where a row is not text. */
export type Adapter = (row: JsonFields, context: AdapterContext) => Question[];

const letters = 'ABCDEFGHIJ';
const choiceInstruction =
  'Answer the question. End with one line: The answer is (X), where X is the letter of the choice.';
const lcrInstruction = 'Answer the following question using the input documents provided above.';
const mathInstruction = 'Solve the problem. Put the final answer in \\boxed{}.';

/** The published formats, by name. */
export const adapters: Readonly<Record<string, Adapter>> = {
  /** https://huggingface.co/datasets/TIGER-Lab/MMLU-Pro: question_id, question, options, answer, answer_index, category. */
  'mmlu-pro': (row, { instruction = choiceInstruction }) => {
    const options = row.texts('options');
    const answer = letters[row.integer('answer_index', 0)] ?? '';
    if (answer !== row.text('answer'))
      throw new Failure('BAD_INPUT', `MMLU-Pro: answer ${row.text('answer')} is not that of answer_index`);
    const prompt = `${instruction}\n\n${row.text('question')}\n\n${lettered(options)}`;
    return [{ id: String(row.integer('question_id')), prompt, answer, scorer: choice(options.length) }];
  },

  /** https://huggingface.co/datasets/Idavidrein/gpqa, gpqa_diamond.csv. Its right answer always comes first: the order here is drawn from the id. */
  'gpqa-diamond': (row, { instruction = choiceInstruction }) => {
    const id = row.text('Record ID');
    const right = row.text('Correct Answer').trim();
    const all = [right, ...[1, 2, 3].map((n) => row.text(`Incorrect Answer ${n}`).trim())];
    const options = shuffled(all, id);
    const prompt = `${instruction}\n\n${row.text('Question').trim()}\n\n${lettered(options)}`;
    return [{ id, prompt, answer: letters[options.indexOf(right)] ?? '', scorer: choice(4) }];
  },

  /** https://huggingface.co/datasets/math-ai/aime25 and opencompass/AIME2025: question or problem, answer. */
  'aime-25': (row, { instruction = mathInstruction }) => {
    const question = row.text(row.has('problem') ? 'problem' : 'question');
    const answer =
      row.has('answer') && typeof row.raw('answer') === 'number'
        ? String(row.integer('answer'))
        : row.text('answer');
    const id = row.has('id') ? String(row.raw('id')) : digestOf(question);
    return [{ id, prompt: `${instruction}\n\n${question}`, answer, scorer: { kind: 'math' } }];
  },

  /** https://huggingface.co/datasets/cais/hle: id, question, image, answer, answer_type. Questions with a picture are left out. */
  hle: (
    row,
    { instruction = 'Answer the question. Give your reasoning briefly, then the final answer.' },
  ) => {
    if (row.has('image') && row.raw('image') !== '') return [];
    const prompt = `${instruction}\n\n${row.text('question')}`;
    const isChoice = row.text('answer_type') === 'multipleChoice';
    const answer = row.text('answer');
    const scorer = isChoice && /^[A-Z]$/.test(answer) ? choice(26) : { kind: 'judge' };
    return [{ id: row.text('id'), prompt, answer, scorer }];
  },

  /**
   * https://huggingface.co/datasets/SciCode1/SciCode: problem_id, required_dependencies, sub_steps (step_number,
   * step_description_prompt, function_header, return_line, test_cases, ground_truth_code). Each step is asked for on top of the
   * steps before it as their authors wrote them; where that code is not published (the test split), the benchmark goes on from
   * the model's own earlier answers, which is a conversation and no question, and the step is left out. So are steps whose
   * tests compare with `target`, values that are published apart (test_data.h5, a gigabyte).
   */
  scicode: (row) => {
    const steps = row.records('sub_steps');
    const dependencies = row.text('required_dependencies');
    const before: string[] = [];
    return steps.flatMap((step, index) => {
      const header = step.text('function_header');
      const tests = step.texts('test_cases');
      const prelude = [dependencies, ...before].join('\n\n');
      const missing = before.length < index;
      if (step.has('ground_truth_code')) before.push(step.text('ground_truth_code'));
      if (missing || tests.some((test) => /\btarget\b/.test(test))) return [];
      const prompt = [
        'Write one Python function in a code block, without examples or tests.',
        step.text('step_description_prompt'),
        `\`\`\`python\n${prelude}\n\n${header}\n${step.text('return_line')}\n\`\`\``,
      ].join('\n\n');
      const scorer = { kind: 'code', prelude, tests: tests.join('\n'), seconds: 60, memory_mib: 4096 };
      return [{ id: step.text('step_number'), prompt, answer: '', scorer }];
    });
  },

  /** https://github.com/allenai/IFBench, IFBench_test.jsonl: key, prompt, instruction_id_list, kwargs. Scored prompt-level loose, as its paper reports. */
  ifbench: (row) => {
    const ids = row.texts('instruction_id_list');
    // A row that no check here covers whole is left out and counted: part of it would be another benchmark.
    if (!ids.every(isCheckable)) return [];
    const kwargs = row.records('kwargs');
    const instructions = ids.map((id, index) => ({ id, ...presentOf(kwargs[index]) }));
    const id = String(row.raw('key'));
    return [
      { id, prompt: row.text('prompt'), answer: '', scorer: { kind: 'format', instructions, loose: true } },
    ];
  },

  /**
   * https://huggingface.co/datasets/ArtificialAnalysis/AA-LCR: document_category, document_set_id, question_id, question,
   * answer, data_source_filenames (joined by ;, in the order of the prompt), the texts below lcr/<category>/<set>/ once
   * extracted_text/AA-LCR_extracted-text.zip is unpacked. The prompt is that of its README.
   */
  'aa-lcr': (row, { folder, instruction = lcrInstruction }) => {
    // The archive is published in extracted_text/, and unpacked there or beside the table.
    const root = [folder, join(folder, 'extracted_text')].find((place) => existsSync(join(place, 'lcr')));
    const set = join('lcr', row.text('document_category'), row.text('document_set_id'));
    const below = join(root ?? folder, set);
    const names = row
      .text('data_source_filenames')
      .split(';')
      .map((name) => name.trim());
    const documents = names.map(
      (name, index) => `BEGIN DOCUMENT ${index + 1}:\n${textOf(below, name)}\nEND DOCUMENT ${index + 1}`,
    );
    const prompt = [
      `BEGIN INPUT DOCUMENTS\n\n${documents.join('\n\n')}\n\nEND INPUT DOCUMENTS`,
      instruction,
      `START QUESTION\n\n${row.text('question')}\n\nEND QUESTION\n`,
    ].join('\n\n');
    const id = String(row.raw('question_id'));
    return [{ id, prompt, answer: row.text('answer'), scorer: { kind: 'judge' } }];
  },

  /**
   * https://github.com/NVIDIA/RULER, validation.jsonl of its own scripts: index, input, outputs, length, and in newer versions
   * answer_prefix, which would put words into a reasoning model's mouth and is left out. An answer is right when all
   * outputs stand in it, where RULER takes their share.
   */
  ruler: (row) => recalled(row, 'all'),

  /** The same for RULER's qa_1 and qa_2, whose outputs are different ways to say it: one is enough. */
  'ruler-qa': (row) => recalled(row, 'any'),
};

function recalled(row: JsonFields, part: 'all' | 'any'): Question[] {
  const references = row.texts('outputs');
  const id = String(row.integer('index'));
  const scorer = { kind: 'recall', references, part };
  return [{ id, prompt: row.text('input'), answer: references.join(', '), scorer }];
}

function lettered(options: readonly string[]): string {
  return options.map((option, index) => `(${letters[index] ?? '?'}) ${option}`).join('\n');
}

function choice(choices: number): object {
  return { kind: 'choice', choices };
}

/** An order that is the same everywhere and forever. */
function shuffled(options: readonly string[], seed: string): string[] {
  const keyed = options.map((option) => [digestOf(`${seed}\n${option}`), option] as const);
  return keyed.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, option]) => option);
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function presentOf(fields: JsonFields | undefined): Record<string, unknown> {
  const names = fields?.names.filter((name) => fields.has(name)) ?? [];
  return Object.fromEntries(names.map((name) => [name, fields?.raw(name)]));
}

/** Names with an apostrophe come out of the archive garbled by many programs: then what is plain of them must tell one file. */
function textOf(folder: string, name: string): string {
  const path =
    [name, `${name}.txt`].map((file) => join(folder, file)).find((file) => existsSync(file)) ??
    plainTwin(folder, name);
  if (path === undefined) throw new Failure('BAD_INPUT', `AA-LCR: no text of ${name} in ${folder}`);
  return readFileSync(path, 'utf8');
}

function plainTwin(folder: string, name: string): string | undefined {
  if (!existsSync(folder)) return undefined;
  const plain = (file: string): string => file.replace(/\.txt$/, '').replace(/[^\x20-\x7e]/g, '');
  const twins = readdirSync(folder).filter((file) => plain(file) === plain(name));
  return twins.length === 1 ? join(folder, twins[0] ?? '') : undefined;
}
