import { join } from 'node:path';
import type { Json } from '../core/canonical-json.ts';
import { Failure } from '../core/errors.ts';
import type { KeyDocument } from '../core/keys.ts';
import { kindNamed } from '../kinds/registry.ts';
import type { ActivityDeps } from './deps.ts';
import type { JobFolder } from './job-folder.ts';
import type { JobCommand } from './launchers/launcher.ts';
import type { StageRequest, StageResources } from './stage-request.ts';

interface JobOf {
  document: KeyDocument;
  folder: JobFolder;
}

/** How the job of a stage is started on this host. */
export function commandFor(
  deps: ActivityDeps,
  request: StageRequest,
  { document, folder }: JobOf,
): JobCommand {
  const { programs } = deps;
  const threads = String(Math.max(1, Math.floor(request.resources.cpus)));
  const env = {
    ...programs.env,
    OMP_NUM_THREADS: threads,
    FRETSAW_JOB: folder.job,
  };
  const { resources } = request;
  const secrets = Object.fromEntries(request.secrets.map((name) => [name, name]));
  const runner = kindNamed(document.kind).runner;
  switch (runner) {
    case 'engine':
      return {
        runner: 'engine',
        argv: [programs.python, '-m', 'fretsaw_engine', folder.job],
        env: { ...env, PYTHONPATH: programs.engine, PYTHONUNBUFFERED: '1' },
        secrets,
        cwd: folder.path,
        ranks: ranksOf(resources),
        resources,
      };
    case 'node':
    case 'inline':
      return {
        runner: 'node',
        argv: [programs.node, programs.job, folder.job],
        env,
        secrets,
        cwd: folder.path,
        ranks: 1,
        resources,
      };
    case 'command':
      return {
        runner: 'command',
        argv: userArgv(document, folder),
        env: { ...env, ...userEnv(document.with['env']) },
        secrets: { ...secrets, ...secretEnv(document.with['env']) },
        cwd: folder.files,
        ranks: 1,
        resources,
      };
  }
}

/** One process for each GPU. */
export function ranksOf({ gpus }: StageResources): number {
  return Math.max(1, gpus);
}

/** Output name -> folder relative to the command's working folder. */
export function commandOutputs(settings: KeyDocument['with']): ReadonlyMap<string, string> {
  return new Map(members(settings['outputs']).map(([name, path]) => [name, asText(path)]));
}

/** `{name}` is the folder of an input or output; everything else reaches the program as it was written. */
function userArgv(document: KeyDocument, folder: JobFolder): string[] {
  const folders = new Map<string, string>();
  for (const name of Object.keys(document.inputs)) folders.set(name, join(folder.files, 'inputs', name));
  for (const [name, path] of commandOutputs(document.with)) folders.set(name, join(folder.files, path));
  const argv = document.with['argv'];
  if (!Array.isArray(argv)) throw new Failure('BAD_INPUT', 'argv: expected a list');
  return argv.map((word) =>
    String(word).replace(/\{([^{}]+)\}/g, (all, name: string) => folders.get(name) ?? all),
  );
}

function userEnv(env: Json | undefined): Record<string, string> {
  return Object.fromEntries(
    members(env).flatMap(([name, value]) => (isSecret(value) ? [] : [[name, asText(value)]])),
  );
}

/** Variable -> name of its secret. */
function secretEnv(env: Json | undefined): Record<string, string> {
  return Object.fromEntries(
    members(env).flatMap(([name, value]) => (isSecret(value) ? [[name, value.secret]] : [])),
  );
}

function isSecret(value: unknown): value is { secret: string } {
  return typeof value === 'object' && value !== null && 'secret' in value && typeof value.secret === 'string';
}

function members(value: Json | undefined): [string, Json][] {
  return typeof value === 'object' && value !== null ? Object.entries(value) : [];
}

/** Settings were checked by the compiler: what is not text is a number or a flag. */
function asText(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
