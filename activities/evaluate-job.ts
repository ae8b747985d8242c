import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAnswers } from '../evaluation/answer-record.ts';
import { Failure } from '../core/errors.ts';
import type { Endpoint } from '../evaluation/endpoint/chat-client.ts';
import { readEndpointSettings } from '../evaluation/endpoint/endpoint-settings.ts';
import { evaluate } from '../evaluation/evaluate.ts';
import { resultsDocument, type Timings } from '../evaluation/results.ts';
import { readEvaluateSettings, type EvaluateSettings } from '../evaluation/settings.ts';
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
  const progress = new EvaluateProgress(job, { earlier, total: countOf(examples, settings) });
  try {
    const records = await evaluate(opened.runner, {
      examples,
      settings,
      tools: { judge: judgeOf(job, examples, environment) },
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
    const document = resultsDocument(records, {
      ...{ model: model.digest, tasks: tasks.digest, examples, settings },
    });
    await writeJson(join(results, 'results.json'), document);
    await writeFile(join(results, 'answers.jsonl'), writeAnswers(records));
    const timings = timingsOf(progress.spent, { threads, batchSize: settings.batchSize, opened });
    await writeJson(join(job.output('timings'), 'timings.json'), timings);
  } finally {
    progress.close();
    await opened.close();
  }
}

/** The judge's server, where a task has one; it must call its model what the spec asked for. */
function judgeOf(
  job: NodeJob,
  examples: readonly TaskExample[],
  { env }: RunnerEnvironment,
): Endpoint | undefined {
  if (!examples.some(({ scorer }) => scorer.kind === 'judge')) return undefined;
  const { server, ...rest } = readEndpointSettings(job.file.resources, (name) => env[name], 'judge');
  const asked = job.file.with['judge'];
  if (rest.model !== asked)
    throw new Failure(
      'BAD_INPUT',
      `with.judge is ${JSON.stringify(asked ?? null)}, resources.judge.model is ${rest.model}`,
    );
  if (server.kind !== 'up') throw new Failure('BAD_INPUT', 'resources.judge needs url');
  return { ...rest, url: server.url };
}

function countOf(examples: readonly TaskExample[], settings: EvaluateSettings): number {
  const counts = examples.map(
    ({ efforts, samples }) => (efforts ?? settings.efforts).length * (samples ?? settings.samples),
  );
  return counts.reduce((sum, count) => sum + count, 0);
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
