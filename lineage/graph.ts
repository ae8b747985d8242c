import type { Digest } from '../core/digest.ts';
import { isFailure } from '../core/errors.ts';
import type { InputDigests, KeyDocument } from '../core/keys.ts';
import type { Store, StoredSnapshot } from '../store/store.ts';
import { broughtDomain, listBrought } from './brought-record.ts';
import { listImports, type ImportPredicate } from './import.ts';
import type { RecordPredicate } from './record.ts';
import { parseRecord, recordName } from './record-statement.ts';

/** A record as the graph holds it. */
export interface Making {
  key: RecordPredicate['key'];
  domain: string;
  generation: number;
  predicate: RecordPredicate;
  /** The record as it is stored: a DSSE envelope. */
  envelope: string;
}

/** Every trusted record, and those that came with imports, by what it made and by what it read. */
export interface LineageGraph {
  makings: readonly Making[];
  /** Oldest first: the first one that made these bytes is their maker. */
  makersOf(artifact: Digest): readonly Making[];
  readersOf(artifact: Digest): readonly Making[];
  snapshotsOf(making: Making): Promise<StoredSnapshot[]>;
  importsOf(artifact: Digest): Promise<ImportPredicate[]>;
  /** Records that could not be read, with the reason: said to the user, never skipped in silence. */
  unreadable: readonly UnreadableRecord[];
}

export interface UnreadableRecord {
  where: string;
  reason: string;
}

/** An input of a key document by name, list index (`data[1]`) or map name (`models.high`). */
export interface NamedInput {
  name: string;
  digest: Digest;
}

export async function readGraph(store: Store): Promise<LineageGraph> {
  const makings: Making[] = [];
  const unreadable: UnreadableRecord[] = [];
  const records = await store.records.asOfNow();
  for (const key of await records.keys()) {
    for (const record of await records.history(key)) {
      try {
        const { domain, generation, envelope } = record;
        makings.push({ key, domain, generation, predicate: parseRecord(record), envelope });
      } catch (error) {
        if (!isFailure(error, 'CORRUPT')) throw error;
        unreadable.push({ where: recordName(record), reason: error.message });
      }
    }
  }
  const brought = await listBrought(store.documents, (where, reason) => unreadable.push({ where, reason }));
  for (const { predicate, envelope } of brought) {
    makings.push({ key: predicate.key, domain: broughtDomain, generation: 1, predicate, envelope });
  }
  makings.sort((a, b) =>
    madeAt(a) < madeAt(b) ? -1 : madeAt(a) > madeAt(b) ? 1 : a.generation - b.generation,
  );
  const makers = new Map<Digest, Making[]>();
  const readers = new Map<Digest, Making[]>();
  for (const making of makings) {
    for (const { digest } of Object.values(making.predicate.outputs)) add(makers, digest, making);
    for (const { digest } of inputsOf(making.predicate.document)) add(readers, digest, making);
  }
  return {
    makings,
    unreadable,
    makersOf: (artifact) => makers.get(artifact) ?? [],
    readersOf: (artifact) => readers.get(artifact) ?? [],
    snapshotsOf: (making) => store.snapshots.list(making.key),
    importsOf: (artifact) => listImports(store.documents, artifact),
  };
}

export function inputsOf(document: KeyDocument): NamedInput[] {
  return Object.entries(document.inputs).flatMap(([name, input]) => namedInputs(name, input));
}

/** The maker that says most: a stage rather than the import of what it made, the oldest of several. */
export function makerOf(graph: LineageGraph, artifact: Digest): Making | undefined {
  const makers = graph.makersOf(artifact);
  return makers.find(({ predicate }) => predicate.document.kind !== 'import') ?? makers[0];
}

function namedInputs(name: string, input: InputDigests): NamedInput[] {
  if (typeof input === 'string') return [{ name, digest: input }];
  if (isList(input)) return input.map((digest, index) => ({ name: `${name}[${index}]`, digest }));
  return Object.entries(input).map(([leg, digest]) => ({ name: `${name}.${leg}`, digest }));
}

function isList(input: InputDigests): input is readonly Digest[] {
  return Array.isArray(input);
}

function madeAt({ predicate }: Making): string {
  return predicate.attempts.at(-1)?.finishedAt ?? '';
}

function add(map: Map<Digest, Making[]>, digest: Digest, making: Making): void {
  const list = map.get(digest);
  if (list === undefined) map.set(digest, [making]);
  else if (list.at(-1) !== making) list.push(making);
}
