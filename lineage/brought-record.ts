import { hexOf, type Digest } from '../core/digest.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { Documents } from '../store/store.ts';
import type { RecordPredicate } from './record.ts';
import { parseRecordText } from './record-statement.ts';
import { sha256Text } from './sha256.ts';

/**
 * What a record that came with an import is kept under. It says where the bytes came from, and is no
 * trust domain: no stage is ever a hit by it.
 */
export const broughtDomain = 'brought';

const folder = 'brought-records/';

/**
 * Keeps the record that `artifact` left in the store where it was made, so that lineage goes on above
 * the import. BAD_INPUT unless it is a record, and one that made this artifact.
 */
export async function bringRecord(
  documents: Documents,
  brought: { artifact: Digest; text: string; from: string },
): Promise<void> {
  const { artifact, text, from } = brought;
  const { outputs, document } = readBrought(text, from);
  if (!Object.values(outputs).some(({ digest }) => digest === artifact)) {
    const made = Object.entries(outputs).map(([name, { digest }]) => `${name} ${digest}`);
    throw new Failure(
      'BAD_INPUT',
      `${from}: expected the record that made ${artifact}, found one of kind ${document.kind} that made ${made.join(', ')}`,
    );
  }
  await documents.create(`${folder}${hexOf(artifact)}/${sha256Text(text)}`, text);
}

export interface BroughtRecord {
  predicate: RecordPredicate;
  /** As it was stored where it was made. */
  envelope: string;
}

/** Every record that came with an import; `onBroken` hears of those that cannot be read. */
export async function listBrought(
  documents: Documents,
  onBroken: (path: string, reason: string) => void,
): Promise<BroughtRecord[]> {
  const found: BroughtRecord[] = [];
  for (const path of await documents.list(folder)) {
    const text = await documents.read(path);
    if (text === undefined) continue;
    try {
      found.push({ predicate: readBrought(text, path), envelope: text });
    } catch (error) {
      if (!isFailure(error, 'BAD_INPUT')) throw error;
      onBroken(path, error.message);
    }
  }
  return found;
}

function readBrought(text: string, where: string): RecordPredicate {
  try {
    return parseRecordText(text, where);
  } catch (error) {
    if (!isFailure(error, 'CORRUPT')) throw error;
    throw new Failure('BAD_INPUT', `not a record: ${error.message}`, { cause: error });
  }
}
