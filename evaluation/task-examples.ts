import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../core/errors.ts';
import { JsonFields } from './json-fields.ts';
import { fitsAnswer, readScorer, type Scorer } from './scorers/scorer.ts';

export interface ChatMessage {
  role: string;
  content: string;
}

/** One question with its answer. `id` is unique in the data set. */
export interface TaskExample {
  id: string;
  task: string;
  /** Of the task, as its file says; 1 where it says nothing. */
  version: number;
  messages: ChatMessage[];
  answer: string;
  scorer: Scorer;
  /** Where the task says so; else the evaluation's own. */
  samples: number | undefined;
  efforts: string[] | undefined;
  maxNewTokens: number | undefined;
}

/**
 * The questions of a data set folder (`examples.jsonl`, engine/src/fretsaw_engine/data/packed.py). A question may
 * stand there once for every effort; it is one question. Written answers (a last message by the assistant) are left out.
 */
export async function readTaskExamples(folder: string): Promise<TaskExample[]> {
  const path = join(folder, 'examples.jsonl');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('BAD_INPUT', `${folder}: no examples.jsonl`, { cause: error });
  });
  const examples = new Map<string, TaskExample>();
  const seen = new Set<string>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const where = `${path}:${index + 1}`;
    const fields = JsonFields.parse(line, where);
    const example = readExample(fields, where);
    const twin = JSON.stringify([example.id, fields.has('effort') ? fields.text('effort') : '']);
    if (seen.has(twin))
      throw new Failure('BAD_INPUT', `${where}: id ${example.id} stands here a second time`);
    seen.add(twin);
    requireSameQuestion(examples.get(example.id), example, where);
    examples.set(example.id, example);
  }
  if (examples.size === 0) throw new Failure('BAD_INPUT', `${path}: no example`);
  return [...examples.values()];
}

function readExample(fields: JsonFields, where: string): TaskExample {
  const messages = fields.records('messages').map((message) => ({
    role: message.text('role'),
    content: message.text('content'),
  }));
  if (messages.at(-1)?.role === 'assistant') messages.pop();
  if (messages.length === 0) throw new Failure('BAD_INPUT', `${where}: messages: no question`);
  const answer = fields.text('answer');
  const scorer = readScorer(fields, where);
  if (!fitsAnswer(scorer, answer))
    throw new Failure('BAD_INPUT', `${where}: answer ${answer} is no ${scorer.kind}`);
  return {
    id: fields.text('id'),
    task: fields.text('task'),
    version: fields.has('task_version') ? fields.integer('task_version', 1) : 1,
    messages,
    answer,
    scorer,
    samples: fields.has('samples') ? fields.integer('samples', 1) : undefined,
    efforts: fields.has('efforts') ? fields.texts('efforts') : undefined,
    maxNewTokens: fields.has('max_new_tokens') ? fields.integer('max_new_tokens', 1) : undefined,
  };
}

function requireSameQuestion(first: TaskExample | undefined, second: TaskExample, where: string): void {
  if (first !== undefined && JSON.stringify(first) !== JSON.stringify(second)) {
    throw new Failure('BAD_INPUT', `${where}: id ${second.id} stands for two different questions`);
  }
}
