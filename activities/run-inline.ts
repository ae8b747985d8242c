import type { InlineJob } from './inline-job.ts';
import type { JobArtifact, JobInput } from './job-folder.ts';
import type { NodeJob } from './node-job.ts';

/** Runs an inline activity on a job: the same contract as every other runner, in the job's own process. */
export function inlineStage(run: (job: InlineJob) => Promise<void>): (job: NodeJob) => Promise<void> {
  return async (job) => {
    const { file } = job;
    await run({
      settings: { ...file.with },
      inputs: mapInputs(file.inputs, (artifact) => artifact.path),
      inputDigests: mapInputs(file.inputs, (artifact) => artifact.digest),
      outputs: { ...file.outputs },
      progress: (step, total, unit) => {
        job.progress(step, total, { unit });
      },
      stage: file.kind,
      run: file.key,
    });
    job.stopIfAsked();
  };
}

type InlineInputs = InlineJob['inputs'];

function mapInputs(
  inputs: Readonly<Record<string, JobInput>>,
  of: (artifact: JobArtifact) => string,
): InlineInputs {
  return Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, mapInput(input, of)]));
}

function mapInput(input: JobInput, of: (artifact: JobArtifact) => string): InlineInputs[string] {
  if (Array.isArray(input)) return input.map(of);
  if (isArtifact(input)) return of(input);
  return Object.fromEntries(Object.entries(input).map(([name, artifact]) => [name, of(artifact)]));
}

function isArtifact(input: Exclude<JobInput, JobArtifact[]>): input is JobArtifact {
  return typeof input['path'] === 'string' && typeof input['digest'] === 'string';
}
