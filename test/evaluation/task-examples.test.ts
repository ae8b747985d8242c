import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTaskExamples } from '../../evaluation/task-examples.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fretsaw-examples-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const question = {
  id: 'a',
  task: 'sum',
  messages: [{ role: 'user', content: 'sum a 1 ?' }],
  answer: '1',
  scorer: 'number',
};

async function read(...lines: object[]): Promise<unknown> {
  await writeFile(join(folder, 'examples.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return readTaskExamples(folder);
}

describe('examples', () => {
  it('are one question for all efforts, without the written answer', async () => {
    const answered = [...question.messages, { role: 'assistant', content: '1', thinking: 'a 1' }];
    const lines = ['low', 'high'].map((effort) => ({
      ...question,
      effort,
      messages: answered,
      completion: [1, 2],
    }));
    expect(await read(...lines)).toMatchObject([{ ...question, scorer: { kind: 'number' } }]);
  });

  it.each([
    ['an id that stands twice', [question, question], 'jsonl:2: id a stands here a second time'],
    [
      'two questions of one id',
      [question, { ...question, effort: 'low', answer: '2' }],
      'jsonl:2: id a stands for two different',
    ],
    [
      'two ways to judge one question',
      [
        {
          ...question,
          scorer: { kind: 'format', instructions: [{ id: 'count:word_count_range', min_words: 1 }] },
        },
        {
          ...{ ...question, effort: 'low' },
          scorer: { kind: 'format', instructions: [{ id: 'count:word_count_range', min_words: 2 }] },
        },
      ],
      'jsonl:2: id a stands for two different',
    ],
    ['an unknown scorer', [{ ...question, scorer: 'guess' }], 'unknown scorer guess'],
    ['an answer that the scorer cannot judge', [{ ...question, answer: 'one' }], 'answer one is no number'],
    ['a line without an id', [{ ...question, id: 1 }], 'jsonl:1: id: expected a text, found 1'],
    ['a question without a user', [{ ...question, messages: [] }], 'no question'],
    ['no line at all', [], 'no example'],
  ])('refuse %s', async (_, lines, message) => {
    await expect(read(...lines)).rejects.toThrow(message);
  });

  it('refuse a line that is no JSON, saying which', async () => {
    await writeFile(join(folder, 'examples.jsonl'), `${JSON.stringify(question)}\n{"id": \n`);
    await expect(readTaskExamples(folder)).rejects.toThrow('examples.jsonl:2: not JSON');
  });

  it('need a file', async () => {
    await expect(readTaskExamples(join(folder, 'elsewhere'))).rejects.toThrow('no examples.jsonl');
  });
});
