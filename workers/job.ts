import { evaluateStage } from '../activities/evaluate-job.ts';
import { readJobFile } from '../activities/node-job-file.ts';
import { runNodeJob, toFailure, type JobHost, type NodeJob } from '../activities/node-job.ts';
import { inlineStage } from '../activities/run-inline.ts';
import { runSelect } from '../activities/select.ts';
import { Failure } from '../core/errors.ts';

/** Kinds whose stages run in Node, each in a process of its own: `node dist/job.js JOB.json`. */
const stages: ReadonlyMap<string, (job: NodeJob) => Promise<void>> = new Map([
  ['evaluate', evaluateStage],
  ['select', inlineStage(runSelect)],
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
      const stage = stages.get(kind);
      if (stage === undefined) throw new Failure('BAD_INPUT', `no kind ${kind} runs in Node`);
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
