import type { ArtifactRef, FileEntry } from '../core/artifact.ts';
import { Failure } from '../core/errors.ts';
import { createBlobBatch, type BlobBatch } from './blobs.ts';
import { cutFile, type Cut } from './cut/cut-file.ts';
import type { FoundFile } from './folder-files.ts';
import { makeManifest } from './manifest.ts';
import type { ObjectBackend } from './object-backend.ts';
import { objectNames } from './object-names.ts';
import { layoutText, packsOf, type Layout } from './pieces/layout.ts';
import { brokenPacks, isLaidOut, nextGeneration } from './pieces/layouts.ts';
import { createPackWriter, type PackWriter } from './pieces/pack-writer.ts';
import type { PieceIndex } from './pieces/piece-index.ts';
import { putChunked, putPlanned } from './pieces/put-in-pieces.ts';
import { openSource, readHashing, readWhole, wholeFileBytes } from './read-source.ts';
import { sha256Bytes } from './sha256.ts';
import type { PutOptions } from './store.ts';
import { hasFile } from './stored-files.ts';
import { refuseTombstoned } from './upkeep/tombstones.ts';

/** The index may name packs that are gone; each try forgets those that the one before it missed. */
const maxTries = 3;

export interface Intake {
  backend: ObjectBackend;
  index: PieceIndex;
}

/**
 * Puts files into the store: bytes first, in blobs and packs, then how they lie in packs, and the
 * manifest last. Each file is read once; what the store has is not written.
 */
export async function putFiles(
  intake: Intake,
  found: readonly FoundFile[],
  options: PutOptions,
): Promise<ArtifactRef> {
  const promised = new Map(options.expected?.map((entry) => [entry.path, entry]));
  for (let tries = 1; ; tries++) {
    const attempt = await openAttempt(intake, found);
    try {
      const files: FileEntry[] = [];
      for (const file of found) {
        const entry = await ingest(attempt, file, promised.get(file.path));
        if (options.expected !== undefined) checkPromise(entry, promised);
        files.push(entry);
      }
      const lost = await addLayouts(attempt);
      if (lost.length === 0) return await finish(attempt, files, options);
      intake.index.forgetPacks(lost);
      if (tries === maxTries) throw vanishing(lost);
    } catch (error) {
      await attempt.packs.discard();
      throw error;
    }
  }
}

interface Attempt extends Intake {
  batch: BlobBatch;
  packs: PackWriter;
  cuts: ReadonlyMap<string, Cut>;
  /** Pieces to come in each group, over all files: experts of one layer may lie in two shards. */
  left: Map<string, number>;
  layouts: Layout[];
}

async function openAttempt({ backend, index }: Intake, found: readonly FoundFile[]): Promise<Attempt> {
  const cuts = new Map<string, Cut>();
  const left = new Map<string, number>();
  for (const file of found.filter(({ sizeBytes }) => sizeBytes > wholeFileBytes)) {
    const cut = planOf(file);
    cuts.set(file.path, cut);
    if (cut.kind !== 'planned') continue;
    for (const { group } of cut.pieces) left.set(group, (left.get(group) ?? 0) + 1);
  }
  if ([...cuts.values()].some(({ kind }) => kind !== 'whole')) await index.refresh();
  const packs = createPackWriter(backend, index);
  return { backend, index, batch: createBlobBatch(backend), packs, cuts, left, layouts: [] };
}

function planOf(file: FoundFile): Cut {
  const source = openSource(file);
  try {
    return cutFile(file.path, file.sizeBytes, (position, length) => source.peek(position, length));
  } finally {
    source.close();
  }
}

async function ingest(
  attempt: Attempt,
  found: FoundFile,
  promised: FileEntry | undefined,
): Promise<FileEntry> {
  const cut = attempt.cuts.get(found.path);
  if (cut === undefined) {
    const bytes = readWhole(found);
    const entry = { path: found.path, size: bytes.length, sha256: sha256Bytes(bytes) };
    await attempt.batch.add(entry.sha256, bytes);
    return entry;
  }
  // Bytes that the store has already are only hashed, to see that the folder is what it was said to be.
  if (promised !== undefined && (await hasFile(attempt.backend, promised)))
    return { path: found.path, ...(await readHashing(found)) };
  return cut.kind === 'whole' ? ingestBlob(attempt, found) : ingestPieces(attempt, found, cut);
}

async function ingestBlob({ backend, batch }: Attempt, found: FoundFile): Promise<FileEntry> {
  const draft = await backend.draft();
  try {
    const { sha256, size } = await readHashing(found, (chunk) => draft.write(chunk));
    await batch.add(sha256, draft);
    return { path: found.path, size, sha256 };
  } catch (error) {
    await draft.discard();
    throw error;
  }
}

async function ingestPieces(
  attempt: Attempt,
  found: FoundFile,
  cut: Exclude<Cut, { kind: 'whole' }>,
): Promise<FileEntry> {
  const source = openSource(found);
  try {
    const layout =
      cut.kind === 'planned'
        ? await putPlanned(attempt, source, cut.pieces)
        : await putChunked(attempt, source, cut.group);
    attempt.layouts.push(layout);
    return { path: found.path, size: layout.sizeBytes, sha256: layout.sha256 };
  } finally {
    source.close();
  }
}

/**
 * Hands the layouts that the store lacks to the batch, once all their packs are certainly there. Returns
 * the packs that the index promised and the store does not have.
 */
async function addLayouts({ backend, batch, packs, layouts }: Attempt): Promise<string[]> {
  const published = await packs.finish();
  const wanted: Layout[] = [];
  for (const layout of new Map(layouts.map((one) => [one.sha256, one])).values())
    if (!(await isLaidOut(backend, { sha256: layout.sha256, size: layout.sizeBytes }))) wanted.push(layout);
  const reused = packsOf(wanted.flatMap(({ pieces }) => pieces)).filter(
    ({ sha256 }) => !published.has(sha256),
  );
  const lost = [...(await brokenPacks(backend, reused))];
  if (lost.length > 0) return lost;
  for (const layout of wanted) {
    const generation = await nextGeneration(backend, layout.sha256);
    const content = Buffer.from(layoutText(layout), 'utf8');
    batch.addObject({ name: `${objectNames.layout(layout.sha256)}/${generation}`, content });
  }
  return [];
}

/** Publishes what is left and, after it, the manifest that names it all. */
export async function finish(
  { backend, batch }: { backend: ObjectBackend; batch: BlobBatch },
  files: readonly FileEntry[],
  options: PutOptions,
): Promise<ArtifactRef> {
  const there = new Set(files.map(({ path }) => path));
  const absent = options.expected?.find(({ path }) => !there.has(path));
  if (absent !== undefined) {
    throw new Failure('DIGEST_MISMATCH', `expected a file ${JSON.stringify(absent.path)}, found none`);
  }
  const { digest, text } = makeManifest(options.type, files);
  await refuseTombstoned(backend, digest);
  const manifest = { name: objectNames.manifest(digest), content: Buffer.from(text, 'utf8') };
  // An old manifest is not made young again by putting it again; this is.
  const use = objectNames.use(digest, Date.now());
  const isKnown = (await backend.head(manifest.name)) !== undefined;
  if (isKnown) batch.addObject({ name: use, content: Buffer.from('{"schema":"fretsaw/use/v1"}\n') });
  await batch.finish(manifest);
  return { digest, type: options.type, sizeBytes: files.reduce((sum, { size }) => sum + size, 0) };
}

export function checkPromise(entry: FileEntry, promised: ReadonlyMap<string, FileEntry>): void {
  const expected = promised.get(entry.path);
  if (expected?.sha256 === entry.sha256 && expected.size === entry.size) return;
  const wanted = expected === undefined ? 'no such file' : `size ${expected.size}, sha256 ${expected.sha256}`;
  throw new Failure(
    'DIGEST_MISMATCH',
    `${JSON.stringify(entry.path)}: expected ${wanted}; found size ${entry.size}, sha256 ${entry.sha256}`,
  );
}

function vanishing(lost: readonly string[]): Failure {
  return new Failure(
    'STORE_UNAVAILABLE',
    `${lost.length} packs that were there are gone, again and again; the first is ${lost[0] ?? ''}`,
  );
}
