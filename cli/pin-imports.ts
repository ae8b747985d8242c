import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isUnpinned, pinImport } from '../compiler/bind.ts';
import type { Plan, PlannedStage } from '../compiler/plan.ts';
import { artifactDigest, type FileEntry } from '../core/artifact.ts';
import { Failure } from '../core/errors.ts';
import { filesBelow } from '../store/folder-files.ts';
import { sha256Text } from '../store/sha256.ts';

/**
 * The plan with every local import pinned to what lies there now. Files are hashed once: as long as
 * size, inode and both times of a file stand, the hash is taken from `<home>/hashes.json`.
 */
export async function pinLocalImports(plan: Plan, home: string): Promise<Plan> {
  const pinned = await pinStages(plan.stages, home);
  if (pinned.size === 0) return plan;
  return { ...plan, stages: plan.stages.map((stage) => pinned.get(stage.name) ?? stage) };
}

/** The unpinned local imports among some stages, pinned, by name. */
export async function pinStages(
  stages: readonly PlannedStage[],
  home: string,
): Promise<Map<string, PlannedStage>> {
  const open = stages.filter((stage) => isUnpinned(stage) && isLocal(stage));
  if (open.length === 0) return new Map();
  const hashes = new HashCache(join(home, 'hashes.json'));
  const pinned = new Map<string, PlannedStage>();
  const absent: Failure[] = [];
  for (const stage of open) {
    const files: FileEntry[] = [];
    const found = await filesOf(stage);
    if (found instanceof Failure) {
      absent.push(found);
      continue;
    }
    for (const { path, source } of found) {
      files.push({ path, size: statSync(source).size, sha256: await hashes.of(source) });
    }
    pinned.set(stage.name, pinImport(stage, artifactDigest(files, sha256Text)));
  }
  hashes.save();
  if (absent.length > 0) {
    throw new Failure('NOT_FOUND', absent.map(({ message }) => message).join('\n'), { cause: absent[0] });
  }
  return pinned;
}

function isLocal(stage: PlannedStage): boolean {
  return !/^(hf|s3):/.test(locationOf(stage));
}

/** The files of a local input, or why it has none: a user wants to hear of every missing input at once. */
async function filesOf(stage: PlannedStage): Promise<Awaited<ReturnType<typeof filesBelow>> | Failure> {
  const folder = locationOf(stage).replace(/^file:(\/\/)?/, '');
  try {
    return await filesBelow(folder);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    return new Failure('NOT_FOUND', `input ${stage.name}: ${message}`, { cause });
  }
}

/** sha256 by path, valid while the file's stat stands. A file changed in the last second is not trusted. */
class HashCache {
  readonly #path: string;
  readonly #known: Map<string, { stat: string; sha256: string }>;
  #isChanged = false;

  constructor(path: string) {
    this.#path = path;
    this.#known = readKnown(path);
  }

  async of(path: string): Promise<string> {
    const { size, mtimeMs, ctimeMs, ino } = statSync(path);
    const stat = [size, mtimeMs, ctimeMs, ino].join(' ');
    const known = this.#known.get(path);
    if (known?.stat === stat) return known.sha256;
    const sha256 = await hashFile(path);
    if (Date.now() - Math.max(mtimeMs, ctimeMs) > 1000) {
      this.#known.set(path, { stat, sha256 });
      this.#isChanged = true;
    }
    return sha256;
  }

  save(): void {
    if (!this.#isChanged) return;
    mkdirSync(dirname(this.#path), { recursive: true });
    const partial = `${this.#path}.${process.pid}.partial`;
    writeFileSync(
      partial,
      JSON.stringify({ schema: 'fretsaw/hashes/v1', files: Object.fromEntries(this.#known) }),
    );
    renameSync(partial, this.#path);
  }
}

/** A cache that cannot be read is an empty one. */
function readKnown(path: string): Map<string, { stat: string; sha256: string }> {
  try {
    const document = JSON.parse(readFileSync(path, 'utf8')) as {
      files: Record<string, { stat: string; sha256: string }>;
    };
    return new Map(Object.entries(document.files));
  } catch {
    return new Map();
  }
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function locationOf(stage: PlannedStage): string {
  const location = stage.with['location'];
  if (typeof location !== 'string') throw new Error(`bug: import ${stage.name} has no location`);
  return location;
}
