import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAnswers } from '../evaluation/answer-record.ts';
import { evaluate } from '../evaluation/evaluate.ts';
import { resultsDocument, type Timings } from '../evaluation/results.ts';
import { readEvaluateSettings } from '../evaluation/settings.ts';
import { readTaskExamples } from '../evaluation/task-examples.ts';
import { EvaluateProgress, readEarlier, type Spent } from './evaluate-progress.ts';
import type { AnswerRequest } from '../evaluation/model-runner.ts';
import type { TaskExample } from '../evaluation/task-examples.ts';
import type { NodeJob } from './node-job.ts';
import { openRunner, type OpenRunner, type RunnerEnvironment } from './open-runner.ts';

/**
 * `evaluate`: tasks x efforts on an exported model. Every finished answer is written down at once; another attempt on
 * this host reads them there, one elsewhere from the last snapshot, and asks none of them again.
 */
export async function evaluateStage(
  job: NodeJob,
  environment: RunnerEnvironment = { env: {} },
): Promise<void> {
  const settings = readEvaluateSettings(job.file.with);
  const [model, tasks] = [job.input('model'), job.input('tasks')];
  const examples = await readTaskExamples(tasks.path);
  const earlier = await readEarlier(job);
  const { threads } = job.file;
  const opened = await openRunner(
    {
      file: job.file,
      model,
      kind: settings.runner,
      batchSize: settings.batchSize,
      probes: probesOf(examples),
    },
    environment,
  );
  const progress = new EvaluateProgress(job, { earlier, total: examples.length * settings.efforts.length });
  try {
    const records = await evaluate(opened.runner, {
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
    const timings = timingsOf(progress.spent, { threads, batchSize: settings.batchSize, opened });
    await writeJson(join(job.output('timings'), 'timings.json'), timings);
  } finally {
    progress.close();
    await opened.close();
  }
}

const probeCount = 4;
const probeTokens = 24;

/** The first questions of different tasks, at one effort. */
function probesOf(examples: readonly TaskExample[]): AnswerRequest[] {
  const byTask = [...new Map(examples.map((example) => [example.task, example])).values()];
  return [...new Set([...byTask, ...examples])].slice(0, probeCount).map(({ id, messages }) => ({
    id,
    messages,
    effort: 'high',
    maxNewTokens: probeTokens,
  }));
}

function timingsOf(
  spent: Spent,
  { threads, batchSize, opened }: { threads: number; batchSize: number; opened: OpenRunner },
): Timings {
  return {
    schema: 'fretsaw/timings/v1',
    runner: opened.name,
    threads,
    batch_size: batchSize,
    ...spent,
    tokens_per_second: spent.tokens / spent.seconds,
    served: opened.proof === undefined ? null : { ...opened.proof },
  };
}

async function writeJson(path: string, document: object): Promise<void> {
  await writeFile(path, `${JSON.stringify(document, null, 1)}\n`);
}
