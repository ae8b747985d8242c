import { join } from 'node:path';
import type { ArtifactRef } from '../core/artifact.ts';
import { Failure } from '../core/errors.ts';
import { kindNamed } from '../kinds/registry.ts';
import { outputsOf } from '../kinds/kind.ts';
import type { Work } from './execute-stage.ts';
import { commandOutputs } from './job-command.ts';
import { readFirstFailure } from './job-events.ts';
import type { JobFolder } from './job-folder.ts';
import type { Outputs } from './stage-request.ts';

/**
 * Puts what an ended job made into the store, checked against its done-manifest; without one, says
 * why it failed. A user's command cannot write a done-manifest: exit code 0 stands for it.
 */
export async function collectOutputs(work: Work, folder: JobFolder): Promise<Outputs> {
  const isCommand = kindNamed(work.document.kind).runner === 'command';
  return isCommand ? await collectOfCommand(work, folder) : await collectByManifest(work, folder);
}

async function collectByManifest({ deps, request, document }: Work, folder: JobFolder): Promise<Outputs> {
  const done = await folder.readDone();
  if (done === undefined) throw await failureOf(folder);
  if (done.key !== request.key || done.attempt !== folder.attempt) {
    throw new Failure(
      'CORRUPT',
      `done-manifest of ${done.key} attempt ${done.attempt}, expected ${request.key} attempt ${folder.attempt}`,
    );
  }
  const types = Object.entries(outputsOf(kindNamed(document.kind), document.with));
  const stored: Record<string, ArtifactRef> = {};
  for (const [name, type] of types) {
    const expected = done.outputs[name];
    if (expected === undefined) throw new Failure('ENGINE_BUG', `${document.kind} left no output ${name}`);
    stored[name] = await deps.store.artifacts.putFolder(folder.output(name), { type, expected });
  }
  return stored;
}

async function collectOfCommand({ deps, document }: Work, folder: JobFolder): Promise<Outputs> {
  if ((await folder.readExit()) !== 0) throw await failureOf(folder);
  const types = outputsOf(kindNamed(document.kind), document.with);
  const stored: Record<string, ArtifactRef> = {};
  for (const [name, path] of commandOutputs(document.with)) {
    const ref = await deps.store.artifacts.putFolder(join(folder.files, path), {
      type: types[name] ?? 'folder',
    });
    if (ref.sizeBytes === 0 && (await deps.store.artifacts.manifest(ref.digest))?.files.length === 0) {
      throw new Failure('COMMAND_FAILED', `exit code 0, but nothing was written to output ${name} (${path})`);
    }
    stored[name] = ref;
  }
  return stored;
}

/** Why a job that left nothing has ended: its own word, else its exit code, with its last lines. */
async function failureOf(folder: JobFolder): Promise<Failure> {
  const log = await folder.tailLog(20);
  const details = { attempt: folder.attempt, folder: folder.path, log };
  const said = await readFirstFailure(folder.events);
  if (said !== undefined)
    return new Failure(said.code, said.message, { details: { ...details, ...said.details } });
  const exit = await folder.readExit();
  if (exit === undefined || exit === 128 + 9) {
    return new Failure('NODE_LOST', 'the job was killed', { details });
  }
  const last = log.split('\n').at(-1) ?? '';
  const code = (await folder.readJob())?.kind === 'command' ? 'COMMAND_FAILED' : 'ENGINE_BUG';
  const how = exit > 128 ? `ended by signal ${exit - 128}` : `exit code ${exit}`;
  return new Failure(code, last === '' ? how : `${how}: ${last}`, { details });
}
