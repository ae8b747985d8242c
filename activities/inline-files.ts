import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../core/errors.ts';
import { parseJson, type Place } from '../costs/json-reader.ts';
import type { InlineJob } from './inline-job.ts';

/** The folder of an input that must be one artifact. */
export function inputFolder(job: InlineJob, name: string): string {
  const folder = job.inputs[name];
  if (typeof folder === 'string') return folder;
  throw new Failure(
    'BAD_INPUT',
    `${job.stage}: input ${name}: expected one artifact, found ${folder === undefined ? 'none' : JSON.stringify(folder)}`,
  );
}

/** The folders of an input that is a map of names; empty when the input is absent. */
export function inputMap(job: InlineJob, name: string): Record<string, string> {
  const folders = job.inputs[name];
  if (folders === undefined) return {};
  if (typeof folders === 'string') return { [name]: folders };
  if (Array.isArray(folders))
    return Object.fromEntries(folders.map((folder, index) => [String(index), folder]));
  return folders;
}

export function outputFolder(job: InlineJob, name: string): string {
  const folder = job.outputs[name];
  if (folder === undefined) throw new Error(`bug: ${job.stage} has no output ${name}`);
  return folder;
}

export async function readDocument(folder: string, file: string): Promise<Place> {
  try {
    return parseJson(await readFile(join(folder, file), 'utf8'), file);
  } catch (error) {
    if (error instanceof Failure || !isMissing(error)) throw error;
    throw new Failure('BAD_INPUT', `expected ${file} in ${folder}, found no such file`, { cause: error });
  }
}

export async function writeOutput(folder: string, file: string, content: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, file), content);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
