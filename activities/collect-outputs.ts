import { join } from 'node:path';
import type { ArtifactRef } from '../core/artifact.ts';
import { Failure } from '../core/errors.ts';
import { kindNamed } from '../kinds/registry.ts';
import { outputsOf } from '../kinds/kind.ts';
import type { Work } from './execute-stage.ts';
import { commandOutputs } from './job-command.ts';
import { failureOfJob } from './job-failure.ts';
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

async function collectByManifest(
  { deps, request, document, launcher }: Work,
  folder: JobFolder,
): Promise<Outputs> {
  const done = await folder.readDone();
  if (done === undefined) throw await failureOfJob(folder, await launcher.cause(folder));
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

async function collectOfCommand({ deps, document, launcher }: Work, folder: JobFolder): Promise<Outputs> {
  if ((await folder.readExit()) !== 0) throw await failureOfJob(folder, await launcher.cause(folder));
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
