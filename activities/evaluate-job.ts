import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAnswers } from '../evaluation/answer-record.ts';
import { evaluate } from '../evaluation/evaluate.ts';
import { OnnxRunner } from '../evaluation/onnx/onnx-runner.ts';
import { resultsDocument, type Timings } from '../evaluation/results.ts';
import { readEvaluateSettings } from '../evaluation/settings.ts';
import { readTaskExamples } from '../evaluation/task-examples.ts';
import { EvaluateProgress, readEarlier, type Spent } from './evaluate-progress.ts';
import type { NodeJob } from './node-job.ts';

/**
 * `evaluate`: tasks x efforts on an exported model. Every finished answer is written down at once; another attempt on
 * this host reads them there, one elsewhere from the last snapshot, and asks none of them again.
 */
export async function evaluateStage(job: NodeJob): Promise<void> {
  const settings = readEvaluateSettings(job.file.with);
  const [model, tasks] = [job.input('model'), job.input('tasks')];
  const examples = await readTaskExamples(tasks.path);
  const earlier = await readEarlier(job);
  const { threads } = job.file;
  const runner = await OnnxRunner.open(model.path, { threads, batchSize: settings.batchSize });
  const progress = new EvaluateProgress(job, { earlier, total: examples.length * settings.efforts.length });
  try {
    const records = await evaluate(runner, {
      examples,
      settings,
      earlier: earlier.records,
      onAnswer: (record) => {
        progress.addAnswer(record);
      },
      onTokens: (count) => {
        progress.addTokens(count);
      },
      shouldStop: () => job.shouldStop,
    });
    await progress.saved({ last: job.shouldStop });
    job.stopIfAsked();
    const results = job.output('results');
    const document = resultsDocument(records, { model: model.digest, tasks: tasks.digest, settings });
    await writeJson(join(results, 'results.json'), document);
    await writeFile(join(results, 'answers.jsonl'), writeAnswers(records));
    const timings = timingsOf(progress.spent, { threads, batchSize: settings.batchSize });
    await writeJson(join(job.output('timings'), 'timings.json'), timings);
  } finally {
    progress.close();
    await runner.close();
  }
}

function timingsOf(spent: Spent, { threads, batchSize }: { threads: number; batchSize: number }): Timings {
  return {
    schema: 'fretsaw/timings/v1',
    runner: 'onnxruntime-node',
    threads,
    batch_size: batchSize,
    ...spent,
    tokens_per_second: spent.tokens / spent.seconds,
  };
}

async function writeJson(path: string, document: object): Promise<void> {
  await writeFile(path, `${JSON.stringify(document, null, 1)}\n`);
}
