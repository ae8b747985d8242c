import type { ArtifactRef } from '../core/artifact.ts';
import { digestFromHex, hexOf, type Digest } from '../core/digest.ts';
import type { Documents } from '../store/store.ts';
import { readInstant, readPartObject, readOneOf, readText, type Read } from './read-json.ts';
import { readArtifactRef } from './read-record.ts';
import { sha256Text } from './sha256.ts';
import { parseStatement, writeStatement } from './statement.ts';

/**
 * Where an artifact came into the store from. The key of an import names its content only, so that
 * a moved file is the same import; this says where it was found, each time it was found elsewhere.
 */
export interface ImportPredicate {
  schema: 'fretsaw/import/v1';
  artifact: ArtifactRef;
  location: string;
  revision?: string;
  importedAt: string;
  run: string;
}

const readImport: Read<ImportPredicate> = readPartObject(
  {
    schema: readOneOf(['fretsaw/import/v1']),
    artifact: readArtifactRef,
    location: readText,
    importedAt: readInstant,
    run: readText,
  },
  { revision: readText },
);

/** `imports/<artifact hex>/<hex of place and revision>`: the first find of each place is kept. */
export async function writeImport(documents: Documents, predicate: ImportPredicate): Promise<void> {
  const place = digestFromHex(sha256Text(JSON.stringify([predicate.location, predicate.revision ?? null])));
  const path = `${folderOf(predicate.artifact.digest)}${hexOf(place)}`;
  const subjects = [{ name: 'self', digest: predicate.artifact.digest }];
  await documents.create(path, writeStatement('import', subjects, predicate));
}

/** Oldest first. */
export async function listImports(documents: Documents, artifact: Digest): Promise<ImportPredicate[]> {
  const found: ImportPredicate[] = [];
  for (const where of await documents.list(folderOf(artifact))) {
    const text = await documents.read(where);
    if (text !== undefined)
      found.push(parseStatement(text, { name: 'import', read: readImport, where }).predicate);
  }
  return found.sort((a, b) => (a.importedAt < b.importedAt ? -1 : 1));
}

function folderOf(artifact: Digest): string {
  return `imports/${hexOf(artifact)}/`;
}
