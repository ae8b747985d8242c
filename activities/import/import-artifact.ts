import { readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { artifactTypes, type ArtifactRef, type ArtifactType } from '../../core/artifact.ts';
import { hexOf, parseDigest, type Digest } from '../../core/digest.ts';
import { Failure } from '../../core/errors.ts';
import { bringRecord } from '../../lineage/brought-record.ts';
import { writeImport } from '../../lineage/import.ts';
import type { Work } from '../execute-stage.ts';
import { readPlan } from '../plan-document.ts';
import type { Outputs } from '../stage-request.ts';
import { checkCheckpoint } from '../../store/check-checkpoint.ts';
import { fetchHub } from './fetch-hub.ts';
import { fetchS3 } from './fetch-s3.ts';

/** Where an entry of `inputs:` says its bytes are. */
export interface ImportSource {
  type: ArtifactType;
  location: string;
  revision: string | undefined;
  /** File with the record of its making. */
  record: string | undefined;
  /** Name of the secret that the place asks for. */
  token: string | undefined;
}

/**
 * Brings a checkpoint or data set in from outside and holds it to its digest. What the store has
 * already is not fetched again; where it was said to be found is written down in both cases.
 */
export async function importArtifact(work: Work): Promise<Outputs> {
  const { deps, request, document } = work;
  const expected = parseDigest(textOf(document.with['digest']));
  const source = await readSource(work);
  const known = await deps.store.artifacts.manifest(expected);
  const isWhole = known !== undefined && (await deps.store.artifacts.missing(expected)).length === 0;
  const artifact = isWhole
    ? { digest: expected, type: source.type, sizeBytes: known.files.reduce((sum, { size }) => sum + size, 0) }
    : await fetchAndStore(work, source, expected);
  if (source.record !== undefined) await bringItsRecord(work, source.record, expected);
  await writeImport(deps.store.documents, {
    schema: 'fretsaw/import/v1',
    artifact,
    location: source.location,
    ...(source.revision === undefined ? {} : { revision: source.revision }),
    importedAt: new Date().toISOString(),
    run: request.run,
  });
  return { self: artifact };
}

async function readSource({ deps, request }: Work): Promise<ImportSource> {
  const settings = (await readPlan(deps.store.documents, request.run)).byName.get(request.stage)?.with ?? {};
  const { type, location, revision, record, token } = settings;
  const known = artifactTypes.find((name) => name === type);
  if (known === undefined || typeof location !== 'string')
    throw new Error(`bug: import ${request.stage} has no type or location`);
  const secret =
    typeof token === 'object' && token !== null && 'secret' in token ? textOf(token.secret) : undefined;
  return {
    type: known,
    location,
    revision: typeof revision === 'string' ? revision : undefined,
    record: typeof record === 'string' ? record : undefined,
    token: secret,
  };
}

async function bringItsRecord({ deps }: Work, path: string, artifact: Digest): Promise<void> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new Failure('BAD_INPUT', `record ${path}: cannot be read`, { cause });
  }
  await bringRecord(deps.store.documents, { artifact, text, from: `record ${basename(path)}` });
}

async function fetchAndStore(work: Work, source: ImportSource, expected: Digest): Promise<ArtifactRef> {
  const { deps } = work;
  const beat = (details: object): void => {
    work.pulse.beat(details);
  };
  const token = source.token === undefined ? undefined : deps.secret(source.token);
  if (source.token !== undefined && token === undefined) {
    throw new Failure('BAD_INPUT', `${source.location}: this worker has no secret ${source.token}`);
  }
  const download = join(deps.home.downloads, hexOf(expected));
  const to = { folder: download, signal: work.pulse.signal, beat, token };
  if (source.location.startsWith('hf://')) await fetchHub(source, to);
  else if (source.location.startsWith('s3://')) await fetchS3(source, to);
  const isLocal = !/^(hf|s3):\/\//.test(source.location);
  const folder = isLocal ? source.location.replace(/^file:(\/\/)?/, '') : download;
  if (source.type === 'checkpoint') await checkCheckpoint(folder);
  const artifact = await deps.store.artifacts.putFolder(folder, { type: source.type });
  if (artifact.digest !== expected) {
    throw new Failure(
      'DIGEST_MISMATCH',
      `${source.location}: expected ${expected}, found ${artifact.digest}`,
    );
  }
  if (!isLocal) await rm(download, { recursive: true, force: true });
  return artifact;
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new Error(`bug: expected text, found ${JSON.stringify(value)}`);
  return value;
}
