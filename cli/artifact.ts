import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { ArtifactType } from '../core/artifact.ts';
import { shortDigest, type Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { makerOf, readGraph, type LineageGraph } from '../lineage/graph.ts';
import { sha256Bytes } from '../store/sha256.ts';
import type { Manifest, Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { configForms, perLayerConfig, type ConfigForm } from './config-form.ts';
import { findArtifact } from './find-artifact.ts';
import { printTensor } from './artifact-tensor.ts';
import { columns, sizeText } from './table.ts';

/** `fretsaw artifact ls [<artifact>] | cat <artifact> <path> | tensor <artifact> <name> | record <artifact> | export <artifact> <folder>`. */
export const command: Command = {
  async run(invocation) {
    const { values, positionals } = parseArgs({
      args: invocation.args,
      allowPositionals: true,
      options: { 'config-form': { type: 'string', default: 'puzzle' }, expert: { type: 'string' } },
    });
    const store = openHomeStore(homePaths(invocation.env, invocation.cwd));
    const [verb, artifact, target, ...more] = positionals;
    if (more.length > 0) throw new UsageError(`unexpected ${more.join(' ')}`);
    const question = { store, invocation };
    if (verb === 'ls' && artifact === undefined) await listArtifacts(question);
    else if (verb === 'ls' && target === undefined) await listFiles(question, needed(artifact, 'artifact'));
    else if (verb === 'cat') await printFile(question, needed(artifact, 'artifact'), needed(target, 'path'));
    else if (verb === 'record' && target === undefined)
      await printRecord(question, needed(artifact, 'artifact'));
    else if (verb === 'tensor') {
      const names = { artifact: needed(artifact, 'artifact'), name: needed(target, 'name') };
      await printTensor({ ...question, ...names, expert: values.expert });
    } else if (verb === 'export') {
      const form = parseForm(values['config-form']);
      await exportArtifact(question, {
        artifact: needed(artifact, 'artifact'),
        folder: needed(target, 'folder'),
        form,
      });
    } else
      throw new UsageError(
        `expected ls, cat, tensor, record or export, found ${positionals.join(' ') || 'nothing'}`,
      );
    return exitCodes.ok;
  },
};

interface Question {
  store: Store;
  invocation: Invocation;
}

async function listArtifacts({ store, invocation: { terminal, json } }: Question): Promise<void> {
  const graph = await readGraph(store);
  const rows: ArtifactRow[] = [];
  for (const digest of await store.artifacts.list()) rows.push(await rowOf(store, graph, digest));
  if (json) {
    terminal.out(`${JSON.stringify({ artifacts: rows })}\n`);
    return;
  }
  if (rows.length === 0) {
    terminal.out(`no artifacts in ${store.location}\n`);
    return;
  }
  const cells = rows.map(({ digest, type, sizeBytes, files, maker }) => [
    shortDigest(digest),
    type,
    sizeText(sizeBytes),
    `${files} files`,
    maker === null ? '' : `${maker.stage}.${maker.output}`,
  ]);
  terminal.out(columns(cells, ['left', 'left', 'right', 'right', 'left']));
}

interface ArtifactRow {
  digest: Digest;
  type: ArtifactType;
  files: number;
  sizeBytes: number;
  maker: { stage: string; output: string; run: string } | null;
}

async function rowOf(store: Store, graph: LineageGraph, digest: Digest): Promise<ArtifactRow> {
  const manifest = await manifestOf(store, digest);
  const maker = makerOf(graph, digest)?.predicate;
  const made = Object.entries(maker?.outputs ?? {}).find(([, ref]) => ref.digest === digest);
  return {
    digest,
    type: made?.[1].type ?? manifest.type,
    files: manifest.files.length,
    sizeBytes: sizeOf(manifest),
    maker:
      maker === undefined || made === undefined
        ? null
        : { stage: maker.stage, output: made[0], run: maker.run },
  };
}

async function listFiles(
  { store, invocation: { terminal, json } }: Question,
  artifact: string,
): Promise<void> {
  const digest = await findArtifact(store, artifact);
  const manifest = await manifestOf(store, digest);
  const missing = await store.artifacts.missing(digest);
  if (json) {
    terminal.out(
      `${JSON.stringify({ digest, type: manifest.type, sizeBytes: sizeOf(manifest), files: manifest.files, missing })}\n`,
    );
    return;
  }
  const cells = manifest.files.map(({ path, size, sha256 }) => [
    shortDigest(sha256),
    sizeText(size),
    missing.includes(path) ? `${path}  (bytes missing)` : path,
  ]);
  terminal.out(
    `${digest}  ${manifest.type}  ${sizeText(sizeOf(manifest))}\n${columns(cells, ['left', 'right', 'left'])}`,
  );
}

async function printFile(
  { store, invocation: { terminal, json } }: Question,
  artifact: string,
  path: string,
): Promise<void> {
  const digest = await findArtifact(store, artifact);
  const bytes = await store.artifacts.readFile(digest, path);
  if (!json) {
    await writeBytes(bytes);
    return;
  }
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  const isText = Buffer.from(text, 'utf8').equals(bytes);
  const content = isText ? { text } : { base64: Buffer.from(bytes).toString('base64') };
  terminal.out(
    `${JSON.stringify({ digest, path, sizeBytes: bytes.length, sha256: sha256Bytes(bytes), ...content })}\n`,
  );
}

/** The record that made it, as it is stored: what `record:` of an import takes. */
async function printRecord({ store, invocation: { terminal } }: Question, artifact: string): Promise<void> {
  const graph = await readGraph(store);
  const digest = await findArtifact(store, artifact);
  const making = makerOf(graph, digest);
  if (making === undefined) throw new Failure('NOT_FOUND', `${digest}: no record says that it made this`);
  terminal.out(`${making.envelope.trimEnd()}\n`);
}

interface Export {
  artifact: string;
  folder: string;
  form: ConfigForm;
}

async function exportArtifact(
  { store, invocation }: Question,
  { artifact, folder: target, form }: Export,
): Promise<void> {
  const digest = await findArtifact(store, artifact);
  const manifest = await manifestOf(store, digest);
  const folder = resolve(invocation.cwd, target);
  // Before anything is copied: a checkpoint that has no such form leaves no folder behind.
  const config = form === 'per-layer' ? perLayerConfig(await configText(store, digest)) : undefined;
  await store.artifacts.export(digest, folder);
  if (config !== undefined) writeFileSync(join(folder, 'config.json'), config);
  const size = sizeOf(manifest);
  const said = { digest, folder, files: manifest.files.length, sizeBytes: size, configForm: form };
  invocation.terminal.out(
    invocation.json
      ? `${JSON.stringify(said)}\n`
      : `${shortDigest(digest)}: ${manifest.files.length} files, ${sizeText(size)}, to ${folder}${config === undefined ? '' : ' (config.json in the per-layer form)'}\n`,
  );
}

async function configText(store: Store, digest: Digest): Promise<string> {
  return Buffer.from(await store.artifacts.readFile(digest, 'config.json')).toString('utf8');
}

async function manifestOf(store: Store, digest: Digest): Promise<Manifest> {
  const manifest = await store.artifacts.manifest(digest);
  if (manifest === undefined) throw new Failure('NOT_FOUND', `${digest}: the store has no such artifact`);
  return manifest;
}

function sizeOf(manifest: Manifest): number {
  return manifest.files.reduce((sum, { size }) => sum + size, 0);
}

function parseForm(text: string): ConfigForm {
  const form = configForms.find((known) => known === text);
  if (form === undefined)
    throw new UsageError(`--config-form: expected ${configForms.join(' or ')}, found ${text}`);
  return form;
}

function needed(value: string | undefined, what: string): string {
  if (value === undefined) throw new UsageError(`expected <${what}>`);
  return value;
}

/** Bytes as they are, whatever a terminal makes of them. */
function writeBytes(bytes: Uint8Array): Promise<void> {
  return new Promise((done, fail) => {
    process.stdout.write(bytes, (error) => {
      if (error === null || error === undefined) done();
      else fail(error);
    });
  });
}
