import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../core/errors.ts';
import { ChatPrompts } from '../evaluation/chat-prompts.ts';
import { readTaskExamples } from '../evaluation/task-examples.ts';
import { makeTask, readTaskFiles, type Task } from '../evaluation/tasks/task-file.ts';
import type { JobArtifact } from './job-folder.ts';
import type { NodeJob } from './node-job.ts';

/** `tasks`: task files and the data sets that they pin, as one data set of questions with their scorers. */
export async function tasksStage(job: NodeJob): Promise<void> {
  const definitions = job.input('definitions').path;
  const all = await readTaskFiles(definitions);
  const chosen = chooseTasks(all, job.file.with['tasks']);
  const prompts =
    job.file.inputs['tokenizer'] === undefined
      ? undefined
      : await ChatPrompts.open(job.input('tokenizer').path);
  const countTokens = (text: string): number => {
    if (prompts === undefined) throw new Failure('BAD_INPUT', 'lengths in tokens need the input tokenizer');
    return prompts.encode([{ role: 'user', content: text }], 'high').length;
  };
  const folders = { definitions, sources: sourcesOf(job), countTokens };
  const output = job.output('data');
  const lines: string[] = [];
  const summary: object[] = [];
  for (const [index, task] of chosen.entries()) {
    const made = await makeTask(task, folders);
    lines.push(...made.lines.map((line) => `${JSON.stringify(line)}\n`));
    summary.push({ task: made.task, rows: made.rows, questions: made.lines.length, left_out: made.leftOut });
    job.progress(index + 1, chosen.length, { unit: 'tasks' });
    job.stopIfAsked();
  }
  await writeFile(join(output, 'examples.jsonl'), lines.join(''));
  await writeFile(
    join(output, 'tasks.json'),
    `${JSON.stringify({ schema: 'fretsaw/tasks/v1', tasks: summary }, null, 1)}\n`,
  );
  // What evaluate will read is read here: a wrong scorer is found before a question is asked.
  await readTaskExamples(output);
}

function chooseTasks(all: readonly Task[], wanted: unknown): Task[] {
  if (!Array.isArray(wanted) || wanted.length === 0) return [...all];
  return wanted.map((name) => {
    const task = all.find((candidate) => candidate.name === name);
    if (task === undefined)
      throw new Failure(
        'BAD_INPUT',
        `no task ${String(name)}; there are ${all.map((known) => known.name).join(', ')}`,
      );
    return task;
  });
}

function sourcesOf(job: NodeJob): Record<string, string> {
  const sources = job.file.inputs['sources'];
  if (sources === undefined || Array.isArray(sources)) return {};
  const named = Object.entries(sources).filter(
    (entry): entry is [string, JobArtifact] => typeof entry[1] === 'object',
  );
  return Object.fromEntries(named.map(([name, artifact]) => [name, artifact.path]));
}
