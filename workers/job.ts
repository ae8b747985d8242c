import { readJobFile } from '../activities/node-job-file.ts';
import { runNodeJob, toFailure, type JobHost, type NodeJob } from '../activities/node-job.ts';
import { inlineStage } from '../activities/run-inline.ts';
import { Failure } from '../core/errors.ts';

type Stage = (job: NodeJob) => Promise<void>;

/** Kinds whose stages run in Node, each in a process of its own: `node dist/job.js JOB.json`. One loads what it needs. */
const stages: ReadonlyMap<string, () => Promise<Stage>> = new Map([
  [
    'evaluate',
    async () => {
      const { evaluateStage } = await import('../activities/evaluate-job.ts');
      return (job) => evaluateStage(job, { env: process.env });
    },
  ],
  [
    'measure',
    async () => {
      const { measureStage } = await import('../activities/measure-job.ts');
      return (job) => measureStage(job, { env: process.env });
    },
  ],
  ['tasks', async () => (await import('../activities/tasks-job.ts')).tasksStage],
  ['select', async () => inlineStage((await import('../activities/select.ts')).runSelect)],
  ['gate', async () => inlineStage((await import('../activities/gate.ts')).runGate)],
  ['report', async () => inlineStage((await import('../activities/report.ts')).runReport)],
]);

const host: JobHost = {
  pid: process.pid,
  onStop: (callback) => process.once('SIGTERM', callback),
  exit: (code) => process.exit(code),
};

async function main(jobFile: string): Promise<number> {
  const { kind } = await readJobFile(jobFile);
  return await runNodeJob(
    jobFile,
    async (job) => {
      const load = stages.get(kind);
      if (load === undefined) throw new Failure('BAD_INPUT', `no kind ${kind} runs in Node`);
      const stage = await load();
      await stage(job);
    },
    host,
  );
}

const [jobFile] = process.argv.slice(2);
if (jobFile === undefined) {
  console.error('usage: job JOB.json');
  process.exit(2);
}
try {
  process.exit(await main(jobFile));
} catch (error) {
  const { code, message } = toFailure(error);
  console.error(`${code}: ${message}`);
  process.exit(1);
}
