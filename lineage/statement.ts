import { hexOf, parseDigest, type Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { parseEnvelope, writeEnvelope, type Signature } from './dsse.ts';
import { parseJson, readList, readMap, readObject, readOneOf, readText, type Read } from './read-json.ts';

export const payloadType = 'application/vnd.in-toto+json';
const statementType = 'https://in-toto.io/Statement/v1';

/** What Fretsaw says about artifacts. Each has one file here that builds and parses it. */
export const predicateTypes = {
  record: 'https://fretsaw.dev/record/v1',
  attempt: 'https://fretsaw.dev/attempt/v1',
  import: 'https://fretsaw.dev/import/v1',
  act: 'https://fretsaw.dev/act/v1',
  divergent: 'https://fretsaw.dev/divergent/v1',
  runStarted: 'https://fretsaw.dev/run-started/v1',
  runFinished: 'https://fretsaw.dev/run-finished/v1',
} as const;

export type PredicateName = keyof typeof predicateTypes;

/** What a statement is about: an artifact, or a document whose canonical bytes have this sha256. */
export interface Subject {
  name: string;
  digest: Digest;
}

/**
 * An in-toto statement in an unsigned DSSE envelope, as text. The same arguments give the same
 * bytes, so that a repeated activity loses no create-only race against itself.
 * @see https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
 */
export function writeStatement(name: PredicateName, subjects: readonly Subject[], predicate: object): string {
  if (subjects.length === 0) throw new Error(`bug: a ${name} statement about nothing`);
  const statement = {
    _type: statementType,
    subject: subjects.map((subject) => ({ name: subject.name, digest: { sha256: hexOf(subject.digest) } })),
    predicateType: predicateTypes[name],
    predicate,
  };
  return writeEnvelope({
    payloadType,
    payload: Buffer.from(JSON.stringify(statement), 'utf8'),
    signatures: [],
  });
}

/** The predicate of a stored statement of this type; all else is CORRUPT. */
export function parseStatement<T>(
  text: string,
  expected: { name: PredicateName; read: Read<T>; where: string },
): { subjects: Subject[]; predicate: T; signatures: Signature[] } {
  const { name, read, where } = expected;
  const envelope = parseEnvelope(text, where);
  if (envelope.payloadType !== payloadType) {
    throw new Failure('CORRUPT', `${where}: expected ${payloadType}, found ${envelope.payloadType}`);
  }
  const body = parseJson(Buffer.from(envelope.payload).toString('utf8'), where);
  const statement = readObject({
    _type: readOneOf([statementType]),
    subject: readList(readObject({ name: readText, digest: readMap(readText) })),
    predicateType: readOneOf([predicateTypes[name]]),
    predicate: read,
  })(body, where);
  const subjects = statement.subject.map((subject) => ({
    name: subject.name,
    digest: subjectDigest(subject.digest, where),
  }));
  if (subjects.length === 0) throw new Failure('CORRUPT', `${where}: a statement about nothing`);
  return { subjects, predicate: statement.predicate, signatures: envelope.signatures };
}

function subjectDigest(digests: Readonly<Record<string, string>>, where: string): Digest {
  const hex = digests['sha256'];
  if (hex === undefined || !/^[0-9a-f]{64}$/.test(hex)) {
    throw new Failure('CORRUPT', `${where}: a subject without sha256`);
  }
  return parseDigest(`sha256:${hex}`);
}
