import { Failure } from '../core/errors.ts';
import { JsonFields } from './json-fields.ts';
import type { ModelAnswer } from './model-runner.ts';
import type { Score } from './scorers/score.ts';
import type { Outcome } from './statistics.ts';
import type { TaskExample } from './task-examples.ts';

/** One line of answers.jsonl: what a model answered at one effort, as it wrote it, and how it was scored. */
export interface AnswerRecord {
  id: string;
  task: string;
  effort: string;
  /** Which of the samples of one question, from 0. */
  sample: number;
  /** As the model wrote them; null where the runner does not see them. */
  token_ids: readonly number[] | null;
  tokens: number;
  analysis: string | null;
  /** Null when there is no final channel, or one that `<|return|>` did not end: then the answer is wrong. */
  final: string | null;
  /** What the scorer took for the answer; null where it found none or answers cannot be compared. */
  extracted: string | null;
  /** Null while it waits to be scored: code and judges take time. */
  correct: boolean | null;
  /** Of several judges, how many voted with the majority. */
  votes: { agreeing: number; votes: number } | null;
  capped: boolean;
  error: string | null;
}

/** One sample of one example at one effort. */
export function answerKey(id: string, effort: string, sample: number): string {
  return JSON.stringify(sample === 0 ? [id, effort] : [id, effort, sample]);
}

export function keyOf(record: AnswerRecord): string {
  return answerKey(record.id, record.effort, record.sample);
}

/** An answer as it came, not scored yet. */
export function toRecord(
  example: TaskExample,
  { effort, sample }: { effort: string; sample: number },
  answer: ModelAnswer,
): AnswerRecord {
  return {
    id: example.id,
    task: example.task,
    effort,
    sample,
    token_ids: answer.tokenIds,
    tokens: answer.tokens,
    analysis: answer.analysis,
    final: answer.final,
    extracted: null,
    correct: null,
    votes: null,
    capped: answer.isCapped,
    error: answer.error,
  };
}

export function withScore(record: AnswerRecord, score: Score): AnswerRecord {
  const { isCorrect, extracted, votes, error } = score;
  return {
    ...record,
    correct: isCorrect,
    extracted,
    votes: votes ?? null,
    error: record.error ?? error ?? null,
  };
}

export function toOutcome(record: AnswerRecord): Outcome {
  return {
    id: record.id,
    task: record.task,
    effort: record.effort,
    sample: record.sample,
    isCorrect: record.correct === true,
    extracted: record.extracted,
    votes: record.votes,
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
  return JSON.stringify(Object.fromEntries(names.map((name) => [name, record[name]])));
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
  'sample',
  'token_ids',
  'tokens',
  'analysis',
  'final',
  'extracted',
  'correct',
  'votes',
  'capped',
  'error',
] as const;

function readAnswer(fields: JsonFields): AnswerRecord {
  fields.only(names);
  const textOrNull = (name: string): string | null => (fields.has(name) ? fields.text(name) : null);
  const record = {
    id: fields.text('id'),
    task: fields.text('task'),
    effort: fields.text('effort'),
    sample: fields.integer('sample', 0),
    token_ids: fields.has('token_ids') ? fields.integers('token_ids') : null,
    tokens: fields.integer('tokens', 0),
    analysis: textOrNull('analysis'),
    final: textOrNull('final'),
    extracted: textOrNull('extracted'),
    correct: fields.has('correct') ? fields.boolean('correct') : null,
    votes: fields.has('votes') ? readVotes(fields.record('votes')) : null,
    capped: fields.boolean('capped'),
    error: textOrNull('error'),
  };
  if (record.token_ids !== null && record.token_ids.length !== record.tokens) {
    throw new Failure(
      'CORRUPT',
      `answer ${record.id}: ${record.tokens} tokens, ${record.token_ids.length} ids`,
    );
  }
  return record;
}

function readVotes(fields: JsonFields): { agreeing: number; votes: number } {
  return { agreeing: fields.integer('agreeing', 0), votes: fields.integer('votes', 1) };
}
