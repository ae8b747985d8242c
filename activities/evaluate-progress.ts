import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isFailure } from '../core/errors.ts';
import {
  keyOf,
  readAnswers,
  writeAnswer,
  writeAnswers,
  type AnswerRecord,
} from '../evaluation/answer-record.ts';
import { JsonFields } from '../evaluation/json-fields.ts';
import type { NodeJob } from './node-job.ts';

/** In the job's folder: an answer a line as they are finished, and what they cost so far. */
const answersSoFar = 'answers.partial.jsonl';
const spentSoFar = 'spent.partial.json';
const snapshotSeconds = 10;
const progressSeconds = 1;

/** Tokens that the model wrote and the seconds that it took, over all attempts. */
export interface Spent {
  tokens: number;
  seconds: number;
}

export interface Earlier {
  records: AnswerRecord[];
  spent: Spent;
}

/**
 * What earlier attempts of this stage have: from the snapshot that we were given, and from their folders beside
 * ours, which know more when an attempt was killed on this host.
 */
export async function readEarlier(job: NodeJob): Promise<Earlier> {
  const { resume, folder, attempt } = job.file;
  const stage = dirname(folder);
  const siblings = (await readdir(stage)).filter((name) => /^\d+$/.test(name) && Number(name) < attempt);
  const sources = siblings.map((name) => ({
    answers: join(stage, name, answersSoFar),
    spent: join(stage, name, spentSoFar),
  }));
  if (resume !== null) {
    sources.push({ answers: join(resume.path, 'answers.jsonl'), spent: join(resume.path, 'spent.json') });
  }
  const records = new Map<string, AnswerRecord>();
  let spent: Spent = { tokens: 0, seconds: 0 };
  for (const source of sources) {
    const found = (await readWhole(source.answers, (text) => readAnswers(text, source.answers))) ?? [];
    for (const record of found) records.set(keyOf(record), record);
    const other = await readWhole(source.spent, (text) => readSpent(text, source.spent));
    if (other !== undefined && other.tokens > spent.tokens) spent = other;
  }
  return { records: [...records.values()], spent };
}

function readSpent(text: string, where: string): Spent {
  const fields = JsonFields.parse(text, where);
  return { tokens: fields.integer('tokens', 0), seconds: fields.number('seconds') };
}

/** A file that is absent or damaged only means that something is done again. */
async function readWhole<T>(path: string, parse: (text: string) => T): Promise<T | undefined> {
  try {
    return parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (isFailure(error) || (error instanceof Error && 'code' in error && error.code === 'ENOENT'))
      return undefined;
    throw error;
  }
}

/** Writes answers down as they come, tells how far the job is, and takes snapshots. */
export class EvaluateProgress {
  readonly #job: NodeJob;
  readonly #records: Map<string, AnswerRecord>;
  readonly #total: number;
  readonly #earlier: Earlier;
  readonly #file: number;
  readonly #startedMs = performance.now();
  #tokens = 0;
  #toldMs = 0;
  #savedMs = performance.now();
  #saving: Promise<void> = Promise.resolve();

  constructor(job: NodeJob, { earlier, total }: { earlier: Earlier; total: number }) {
    this.#job = job;
    this.#earlier = earlier;
    this.#records = new Map(earlier.records.map((record) => [keyOf(record), record]));
    this.#total = total;
    this.#file = openSync(join(job.file.folder, answersSoFar), 'w');
    writeSync(this.#file, writeAnswers(earlier.records));
    this.#tell();
  }

  get spent(): Spent {
    const { tokens, seconds } = this.#earlier.spent;
    return { tokens: tokens + this.#tokens, seconds: seconds + this.#seconds() };
  }

  addAnswer(record: AnswerRecord): void {
    this.#records.set(keyOf(record), record);
    writeSync(this.#file, `${writeAnswer(record)}\n`);
  }

  addTokens(count: number): void {
    this.#tokens += count;
    const nowMs = performance.now();
    if (nowMs - this.#toldMs > progressSeconds * 1000 || this.#records.size === this.#total) this.#tell();
    if (nowMs - this.#savedMs < snapshotSeconds * 1000) return;
    this.#savedMs = nowMs;
    this.#saving = this.#saving.then(() => this.#save());
    this.#saving.catch(() => undefined); // `saved` tells; here nobody waits
  }

  /** Resolves when every snapshot begun is written; `last` takes one more. */
  async saved({ last }: { last: boolean }): Promise<void> {
    await this.#saving;
    if (last) await this.#save();
  }

  close(): void {
    closeSync(this.#file);
  }

  /** `step` of a snapshot is the number of answers in it. */
  async #save(): Promise<void> {
    const answers = this.#records.size;
    if (answers === 0) return;
    const files = {
      'answers.jsonl': writeAnswers([...this.#records.values()]),
      'spent.json': `${JSON.stringify(this.spent)}\n`,
    };
    await this.#job.snapshot(answers, files, { answers });
  }

  #tell(): void {
    this.#toldMs = performance.now();
    const answered = this.#records.size - this.#earlier.records.length;
    const rate = answered === 0 ? null : answered / this.#seconds();
    this.#job.progress(this.#records.size, this.#total, { unit: 'answers', rate });
    if (this.#tokens === 0) return;
    this.#job.metrics(this.#records.size, { tokens_per_second: this.#tokens / this.#seconds() });
    writeFileSync(join(this.#job.file.folder, spentSoFar), `${JSON.stringify(this.spent)}\n`);
  }

  #seconds(): number {
    return (performance.now() - this.#startedMs) / 1000;
  }
}
