import { isFailure } from '../core/errors.ts';
import { closeSync, openSync, writeSync } from 'node:fs';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  answerKey,
  readAnswers,
  writeAnswer,
  writeAnswers,
  type AnswerRecord,
} from '../evaluation/answer-record.ts';
import { evaluate } from '../evaluation/evaluate.ts';
import { OnnxRunner } from '../evaluation/onnx/onnx-runner.ts';
import { resultsDocument, type Timings } from '../evaluation/results.ts';
import { readEvaluateSettings, type EvaluateSettings } from '../evaluation/settings.ts';
import { readTaskExamples } from '../evaluation/task-examples.ts';
import type { NodeJob } from './node-job.ts';

/** In the job's folder: an answer a line, as they are finished. */
const answersSoFar = 'answers.partial.jsonl';
const snapshotSeconds = 10;
const progressSeconds = 1;

/**
 * `evaluate`: tasks x efforts on an exported model. Every finished answer is written down at once; another attempt on this host
 * reads them there, one elsewhere from the last snapshot, and asks none of them again.
 */
export async function evaluateStage(job: NodeJob): Promise<void> {
  const settings = readEvaluateSettings(job.file.with);
  const [model, tasks] = [job.input('model'), job.input('tasks')];
  const examples = await readTaskExamples(tasks.path);
  const earlier = await readEarlier(job);
  const runner = await OnnxRunner.open(model.path, {
    threads: job.file.threads,
    batchSize: settings.batchSize,
  });
  const meter = new Meter(job, { earlier, total: examples.length * settings.efforts.length });
  try {
    const records = await evaluate(runner, {
      examples,
      settings,
      earlier,
      onAnswer: (record) => {
        meter.add(record);
      },
      onTokens: (count) => {
        meter.count(count);
      },
      shouldStop: () => job.shouldStop,
    });
    if (job.shouldStop) await meter.snapshot();
    job.stopIfAsked();
    await meter.snapshotsWritten;
    const document = resultsDocument(records, { model: model.digest, tasks: tasks.digest, settings });
    await writeJson(join(job.output('results'), 'results.json'), document);
    await writeFile(join(job.output('results'), 'answers.jsonl'), writeAnswers(records));
    await writeJson(join(job.output('timings'), 'timings.json'), meter.timings(settings));
  } finally {
    meter.close();
    await runner.close();
  }
}

async function writeJson(path: string, document: object): Promise<void> {
  await writeFile(path, `${JSON.stringify(document, null, 1)}\n`);
}

/** Writes answers down and tells how far the job is. */
class Meter {
  /** Settled when no snapshot is being written. */
  snapshotsWritten: Promise<void> = Promise.resolve();
  readonly #job: NodeJob;
  readonly #records: AnswerRecord[];
  readonly #total: number;
  readonly #file: number;
  readonly #startedMs = performance.now();
  #tokens = 0;
  #answered = 0;
  #toldMs = 0;
  #savedMs = performance.now();

  constructor(job: NodeJob, { earlier, total }: { earlier: readonly AnswerRecord[]; total: number }) {
    this.#job = job;
    this.#records = [...earlier];
    this.#total = total;
    this.#file = openSync(join(job.file.folder, answersSoFar), 'w');
    writeSync(this.#file, writeAnswers(earlier));
    this.#tell();
  }

  add(record: AnswerRecord): void {
    this.#records.push(record);
    this.#answered++;
    writeSync(this.#file, `${writeAnswer(record)}\n`);
  }

  count(tokens: number): void {
    this.#tokens += tokens;
    const nowMs = performance.now();
    if (nowMs - this.#toldMs > progressSeconds * 1000 || this.#records.length === this.#total) this.#tell();
    if (nowMs - this.#savedMs > snapshotSeconds * 1000) {
      this.#savedMs = nowMs;
      this.snapshotsWritten = this.snapshotsWritten.then(() => this.snapshot());
    }
  }

  /** `step` is the number of answers. */
  async snapshot(): Promise<void> {
    const answers = this.#records.length;
    if (answers === 0) return;
    await this.#job.snapshot(answers, { 'answers.jsonl': writeAnswers(this.#records) }, { answers });
  }

  timings({ batchSize }: EvaluateSettings): Timings {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    return {
      schema: 'fretsaw/timings/v1',
      runner: 'onnxruntime-node',
      threads: this.#job.file.threads,
      batch_size: batchSize,
      tokens: this.#tokens,
      seconds,
      tokens_per_second: this.#tokens === 0 ? null : this.#tokens / seconds,
    };
  }

  close(): void {
    closeSync(this.#file);
  }

  #tell(): void {
    this.#toldMs = performance.now();
    const seconds = (this.#toldMs - this.#startedMs) / 1000;
    const rate = this.#answered === 0 ? null : this.#answered / seconds;
    this.#job.progress(this.#records.length, this.#total, { unit: 'answers', rate });
    if (this.#tokens > 0)
      this.#job.metrics(this.#records.length, { tokens_per_second: this.#tokens / seconds });
  }
}

/** Answers of earlier attempts of this stage: from the snapshot that we were given, and from their folders beside ours. */
async function readEarlier(job: NodeJob): Promise<AnswerRecord[]> {
  const { resume, folder, attempt } = job.file;
  const stage = dirname(folder);
  const siblings = (await readdir(stage)).filter((name) => /^\d+$/.test(name) && Number(name) < attempt);
  const files = siblings.map((name) => join(stage, name, answersSoFar));
  if (resume !== null) files.push(join(resume.path, 'answers.jsonl'));
  const known = new Map<string, AnswerRecord>();
  for (const file of files) {
    for (const record of await readWhatIsWhole(file)) known.set(answerKey(record.id, record.effort), record);
  }
  return [...known.values()];
}

/** A file that is absent or damaged only means that its answers are asked for again. */
async function readWhatIsWhole(file: string): Promise<AnswerRecord[]> {
  try {
    return readAnswers(await readFile(file, 'utf8'), file);
  } catch (error) {
    if (isFailure(error) || (error instanceof Error && 'code' in error && error.code === 'ENOENT')) return [];
    throw error;
  }
}
