import { mkdir, readFile } from 'node:fs/promises';
import type { Json } from '../core/canonical-json.ts';
import { Failure } from '../core/errors.ts';
import { JsonFields } from '../evaluation/json-fields.ts';
import type { JobArtifact, JobFile, JobInput } from './job-folder.ts';

const known = [
  'schema',
  'key',
  'kind',
  'version',
  'attempt',
  'with',
  'inputs',
  'outputs',
  'resources',
  'threads',
  'folder',
  'resume',
  'lease',
] as const;

/** Reads a job file, refusing what it does not know, as engine/src/fretsaw_engine/job.py does; makes the output folders. */
export async function readJobFile(path: string): Promise<JobFile> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('BAD_INPUT', `job file ${path}: cannot be read`, { cause: error });
  });
  const fields = JsonFields.parse(text, `job file ${path}`).only(known);
  const job = parse(fields, path);
  await Promise.all(Object.values(job.outputs).map((folder) => mkdir(folder, { recursive: true })));
  return job;
}

function parse(fields: JsonFields, path: string): JobFile {
  const schema = fields.text('schema');
  if (schema !== 'fretsaw/job/v1') throw new Failure('BAD_INPUT', `job file ${path}: schema is ${schema}`);
  const resume = fields.has('resume') ? fields.record('resume') : null;
  const [inputs, outputs] = [fields.record('inputs'), fields.record('outputs')];
  return {
    schema,
    key: fields.text('key'),
    kind: fields.text('kind'),
    version: fields.text('version'),
    attempt: fields.integer('attempt', 0),
    with: readJson(fields.record('with')),
    inputs: Object.fromEntries(inputs.names.map((name) => [name, readInput(inputs, name)])),
    outputs: Object.fromEntries(outputs.names.map((name) => [name, outputs.text(name)])),
    resources: readJson(fields.record('resources')),
    threads: fields.integer('threads', 1),
    folder: fields.text('folder'),
    resume: resume && { path: resume.text('path'), step: resume.integer('step', 0) },
    lease: { seconds: fields.record('lease').number('seconds') },
  };
}

function readInput(inputs: JsonFields, name: string): JobInput {
  if (Array.isArray(inputs.raw(name))) return inputs.records(name).map(readArtifact);
  const input = inputs.record(name);
  if (isArtifact(input)) return readArtifact(input);
  return Object.fromEntries(input.names.map((member) => [member, readArtifact(input.record(member))]));
}

function isArtifact(input: JsonFields): boolean {
  return (
    input.names.length === 2 &&
    typeof input.raw('digest') === 'string' &&
    typeof input.raw('path') === 'string'
  );
}

function readArtifact(fields: JsonFields): JobArtifact {
  fields.only(['digest', 'path']);
  return { digest: fields.text('digest'), path: fields.text('path') };
}

/** What JSON.parse gave is JSON; this only says so to the type system, member by member. */
function readJson(fields: JsonFields): Record<string, Json> {
  return Object.fromEntries(fields.names.map((name) => [name, toJson(fields.raw(name))]));
}

function toJson(value: unknown): Json {
  if (value === null || typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number')
    return value;
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, toJson(member)]));
  throw new Error(`bug: ${typeof value} in JSON`);
}
