import type { JobFile, JobFolder } from '../../activities/job-folder.ts';

/** A job file that asks for nothing: for tests of what happens round a job. */
export function emptyJob(job: JobFolder, { key, kind }: Pick<JobFile, 'key' | 'kind'>): JobFile {
  return {
    schema: 'fretsaw/job/v1',
    key,
    kind,
    version: '1',
    attempt: job.attempt,
    with: {},
    inputs: {},
    outputs: {},
    resources: {},
    threads: 1,
    folder: job.path,
    resume: null,
    lease: { seconds: 0 },
  };
}
