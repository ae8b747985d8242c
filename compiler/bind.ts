import type { Json } from '../core/canonical-json.ts';
import { parseDigest, type Digest } from '../core/digest.ts';
import type { InputDigests, KeyDocument } from '../core/keys.ts';
import { isSource, isSourceList, type PlannedStage, type Source, type SourceInput } from './plan.ts';

/** The version to write into keys, by kind: `3`, or `3+dirty.<8 hex>` when its code is not the pinned one. */
export type Versions = Readonly<Record<string, string>>;

/**
 * The key document of a stage whose inputs are known. Only `kind`, `version`, `with` and the content
 * of the inputs go in; pool, resources, retry, budget and the stage's own name do not.
 */
export function bindKey(
  stage: PlannedStage,
  resolve: (source: Source) => Digest,
  versions: Versions,
): KeyDocument {
  const version = versions[stage.kind];
  if (version === undefined) throw new Error(`bug: no version for kind ${stage.kind}`);
  return {
    schema: 'fretsaw/key/v1',
    kind: stage.kind,
    version,
    with: stage.kind === 'import' ? importSettings(stage) : stage.with,
    inputs: {
      ...mapValues(stage.inputs, (input) => inputDigests(input, resolve)),
      ...(stage.continues === undefined ? {} : { continues: stage.continues.artifact }),
    },
  };
}

/** An import whose digest is not in the spec has no key until its bytes were hashed. */
export function isUnpinned(stage: PlannedStage): boolean {
  return stage.kind === 'import' && stage.with['digest'] === undefined;
}

/** The same import once its bytes are known. */
export function pinImport(stage: PlannedStage, digest: Digest): PlannedStage {
  return { ...stage, with: { ...stage.with, digest } };
}

/**
 * What was imported, not from where: a moved file, or the same bytes from S3, is the same import.
 */
function importSettings(stage: PlannedStage): KeyDocument['with'] {
  const { type, digest } = stage.with;
  if (typeof type !== 'string' || typeof digest !== 'string') {
    throw new Error(`bug: import ${stage.name} has no digest yet; hash it and call pinImport first`);
  }
  return { type, digest: parseDigest(digest) } satisfies Record<string, Json>;
}

function inputDigests(input: SourceInput, resolve: (source: Source) => Digest): InputDigests {
  if (isSource(input)) return resolve(input);
  if (isSourceList(input)) return input.map(resolve);
  return mapValues(input, resolve);
}

function mapValues<T, U>(map: Readonly<Record<string, T>>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(map).map(([name, value]) => [name, change(value)]));
}
