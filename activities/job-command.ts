import { join } from 'node:path';
import type { Json } from '../core/canonical-json.ts';
import { Failure } from '../core/errors.ts';
import type { KeyDocument } from '../core/keys.ts';
import { kindNamed } from '../kinds/registry.ts';
import type { ActivityDeps } from './deps.ts';
import type { JobFolder } from './job-folder.ts';
import type { JobCommand } from './launchers/launcher.ts';
import type { StageRequest } from './stage-request.ts';

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
    ...secretsOf(deps, request),
    FRETSAW_JOB: folder.job,
  };
  const ranks = Math.max(1, request.resources.gpus);
  const runner = kindNamed(document.kind).runner;
  switch (runner) {
    case 'engine':
      return {
        runner: 'engine',
        argv: [programs.python, '-m', 'fretsaw_engine', folder.job],
        env: { ...env, PYTHONPATH: programs.engine, PYTHONUNBUFFERED: '1' },
        cwd: folder.path,
        ranks,
      };
    case 'node':
    case 'inline':
      return {
        runner: 'node',
        argv: [programs.node, programs.job, folder.job],
        env,
        cwd: folder.path,
        ranks: 1,
      };
    case 'command':
      return {
        runner: 'command',
        argv: userArgv(document, folder),
        env: { ...env, ...userEnv(deps, document.with['env']) },
        cwd: folder.files,
        ranks: 1,
      };
  }
}

/** Output name -> folder relative to the command's working folder. */
export function commandOutputs(settings: KeyDocument['with']): ReadonlyMap<string, string> {
  return new Map(texts(settings['outputs']));
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

function userEnv(deps: ActivityDeps, env: Json | undefined): Record<string, string> {
  if (typeof env !== 'object' || env === null) return {};
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [
      name,
      isSecret(value) ? secretValue(deps, value.secret) : asText(value),
    ]),
  );
}

function isSecret(value: unknown): value is { secret: string } {
  return typeof value === 'object' && value !== null && 'secret' in value && typeof value.secret === 'string';
}

function secretsOf(deps: ActivityDeps, request: StageRequest): Record<string, string> {
  return Object.fromEntries(request.secrets.map((name) => [name, secretValue(deps, name)]));
}

function secretValue(deps: ActivityDeps, name: string): string {
  const value = deps.secret(name);
  if (value === undefined)
    throw new Failure('BAD_INPUT', `this worker has no secret ${name}: set it in its environment`);
  return value;
}

function texts(value: Json | undefined): [string, string][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).map(([name, member]) => [name, asText(member)]);
}

/** Settings were checked by the compiler: what is not text is a number or a flag. */
function asText(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
