import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Digest } from '../core/digest.ts';
import type { InputDigests } from '../core/keys.ts';
import { kindNamed } from '../kinds/registry.ts';
import { outputsOf } from '../kinds/kind.ts';
import type { Artifacts } from '../store/store.ts';
import type { Work } from './execute-stage.ts';
import { commandOutputs } from './job-command.ts';
import type { JobArtifact, JobInput } from './job-folder.ts';
import { countOomKills } from './launchers/oom-kills.ts';
import type { TakenAttempt } from './take-attempt.ts';

/** Puts into a new attempt's folder all that its runner reads; inputs are verified, shared, read-only views. */
export async function prepareJob(
  { deps, request, document }: Work,
  { folder, resume }: TakenAttempt,
): Promise<void> {
  const kind = kindNamed(document.kind);
  const inputs: { [name: string]: JobInput } = {};
  for (const [name, digests] of Object.entries(document.inputs)) {
    inputs[name] = await viewInput(deps.store.artifacts, digests);
  }
  const names = Object.keys(outputsOf(kind, document.with));
  await folder.prepare({
    schema: 'fretsaw/job/v1',
    key: request.key,
    kind: document.kind,
    version: document.version,
    attempt: folder.attempt,
    with: document.with,
    inputs,
    outputs: Object.fromEntries(names.map((name) => [name, folder.output(name)])),
    resources: request.resources,
    threads: Math.max(1, Math.floor(request.resources.cpus)),
    folder: folder.path,
    resume: resume === undefined ? null : { path: resume.path, step: resume.step },
    lease: { seconds: request.leaseSeconds },
  });
  const oomKills = countOomKills();
  if (oomKills !== undefined) await writeFile(folder.oomKills, String(oomKills));
  if (kind.runner === 'command') await layOut(folder.files, inputs, commandOutputs(document.with));
}

async function viewInput(artifacts: Artifacts, digests: InputDigests): Promise<JobInput> {
  const view = async (digest: Digest): Promise<JobArtifact> => ({
    digest,
    path: await artifacts.view(digest),
  });
  if (typeof digests === 'string') return await view(digests);
  if (isList(digests)) return await Promise.all(digests.map(view));
  const named = Object.entries(digests).map(async ([name, digest]) => [name, await view(digest)] as const);
  return Object.fromEntries(await Promise.all(named));
}

function isList(digests: InputDigests): digests is readonly Digest[] {
  return Array.isArray(digests);
}

/** The working folder of a user's command: inputs as links to views, declared outputs as empty folders. */
async function layOut(
  files: string,
  inputs: { readonly [name: string]: JobInput },
  outputs: ReadonlyMap<string, string>,
): Promise<void> {
  await mkdir(join(files, 'inputs'), { recursive: true });
  for (const path of outputs.values()) await mkdir(join(files, path), { recursive: true });
  for (const [name, input] of Object.entries(inputs)) {
    for (const [path, target] of links(name, input)) {
      const link = join(files, 'inputs', path);
      if (path.includes('/')) await mkdir(dirname(link), { recursive: true });
      await symlink(target, link);
    }
  }
}

/** A list is linked by position (`inputs/models/0`), a map by name. */
function links(name: string, input: JobInput): [path: string, target: string][] {
  if (isArtifact(input)) return [[name, input.path]];
  return Object.entries(input).map(([member, artifact]) => [`${name}/${member}`, artifact.path]);
}

function isArtifact(input: JobInput): input is JobArtifact {
  return 'path' in input && typeof input.path === 'string';
}
