import { Failure } from '../core/errors.ts';
import { JsonFields } from './json-fields.ts';
import type { ModelAnswer } from './model-runner.ts';
import { isCorrect } from './scorers.ts';
import type { Outcome } from './statistics.ts';
import type { TaskExample } from './task-examples.ts';

/** One line of answers.jsonl: what a model answered at one effort, as it wrote it, and how it was scored. */
export interface AnswerRecord {
  id: string;
  task: string;
  effort: string;
  /** As the model wrote them; null where the runner does not see them. */
  token_ids: readonly number[] | null;
  tokens: number;
  analysis: string | null;
  /** Null when there is no final channel, or one that `<|return|>` did not end: then the answer is wrong. */
  final: string | null;
  correct: boolean;
  capped: boolean;
  error: string | null;
}

/** The answer of one example at one effort. */
export function answerKey(id: string, effort: string): string {
  return JSON.stringify([id, effort]);
}

export function scoreAnswer(example: TaskExample, effort: string, answer: ModelAnswer): AnswerRecord {
  return {
    id: example.id,
    task: example.task,
    effort,
    token_ids: answer.tokenIds,
    tokens: answer.tokens,
    analysis: answer.analysis,
    final: answer.final,
    correct: isCorrect(example.scorer, example.answer, answer.final),
    capped: answer.isCapped,
    error: answer.error,
  };
}

export function toOutcome(record: AnswerRecord): Outcome {
  return {
    task: record.task,
    effort: record.effort,
    isCorrect: record.correct,
    isCapped: record.capped,
    hasFinal: record.final !== null,
    tokens: record.tokens,
    isError: record.error !== null,
  };
}

/** One answer a line, keys in one order: equal answers are equal bytes. */
export function writeAnswers(records: readonly AnswerRecord[]): string {
  return records.map((record) => `${writeAnswer(record)}\n`).join('');
}

export function writeAnswer(record: AnswerRecord): string {
  const { id, task, effort, token_ids, tokens, analysis, final, correct, capped, error } = record;
  return JSON.stringify({ id, task, effort, token_ids, tokens, analysis, final, correct, capped, error });
}

/** Reads answers back. A last line without its end was cut off by a crash and does not count. */
export function readAnswers(text: string, where: string): AnswerRecord[] {
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line, index) => readAnswer(JsonFields.parse(line, `${where}:${index + 1}`)));
}

const names = [
  'id',
  'task',
  'effort',
  'token_ids',
  'tokens',
  'analysis',
  'final',
  'correct',
  'capped',
  'error',
];

function readAnswer(fields: JsonFields): AnswerRecord {
  fields.only(names);
  const record = {
    id: fields.text('id'),
    task: fields.text('task'),
    effort: fields.text('effort'),
    token_ids: fields.has('token_ids') ? fields.integers('token_ids') : null,
    tokens: fields.integer('tokens', 0),
    analysis: fields.has('analysis') ? fields.text('analysis') : null,
    final: fields.has('final') ? fields.text('final') : null,
    correct: fields.boolean('correct'),
    capped: fields.boolean('capped'),
    error: fields.has('error') ? fields.text('error') : null,
  };
  if (record.token_ids !== null && record.token_ids.length !== record.tokens) {
    throw new Failure(
      'CORRUPT',
      `answer ${record.id}: ${record.tokens} tokens, ${record.token_ids.length} ids`,
    );
  }
  return record;
}
