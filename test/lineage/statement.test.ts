import { createPublicKey, verify } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hexOf } from '../../core/digest.ts';
import { listAttempts, readAttempt, writeAttempt } from '../../lineage/attempt.ts';
import { parseEnvelope, preAuthenticationEncoding, writeEnvelope } from '../../lineage/dsse.ts';
import { parseRecord, writeRecord } from '../../lineage/record-statement.ts';
import { listFinished, listRuns, readStarted, writeRunFinished, writeRunStarted } from '../../lineage/run.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { attemptNote, digestOfText, keyDocument, requestOf } from './fixtures.ts';

const out = { digest: digestOfText('artifact'), type: 'folder' as const, sizeBytes: 3 };
const request = requestOf(keyDocument('distill', { data: [digestOfText('d')] }, { tokens: 5 }), {
  outputs: { out },
});
const { key, document, outputs, attempts, run, stage } = request;
const predicate = { schema: 'fretsaw/record/v1' as const, key, document, outputs, attempts, run, stage };
const stored = (envelope: string) => ({ key, domain: 'local', generation: 1, envelope });

describe('the DSSE envelope', () => {
  it('encodes what is signed as the protocol says', () => {
    const pae = preAuthenticationEncoding('http://example.com/HelloWorld', Buffer.from('hello world'));
    expect(Buffer.from(pae).toString()).toBe('DSSEv1 29 http://example.com/HelloWorld 11 hello world');
    expect(Buffer.from(preAuthenticationEncoding('ä', Buffer.alloc(0))).toString()).toBe('DSSEv1 2 ä 0 ');
  });

  it('carries the signature of the test vector of the protocol, which verifies', () => {
    // https://github.com/secure-systems-lab/dsse/blob/master/protocol.md#test-vectors
    const text = JSON.stringify({
      payload: 'aGVsbG8gd29ybGQ=',
      payloadType: 'http://example.com/HelloWorld',
      signatures: [
        { sig: 'A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==' },
      ],
    });
    const coordinate = (decimal: string): string =>
      Buffer.from(BigInt(decimal).toString(16).padStart(64, '0'), 'hex').toString('base64url');
    const publicKey = createPublicKey({
      format: 'jwk',
      key: {
        kty: 'EC',
        crv: 'P-256',
        x: coordinate('46950820868899156662930047687818585632848591499744589407958293238635476079160'),
        y: coordinate('5640078356564379163099075877009565129882514886557779369047442380624545832820'),
      },
    });
    const { payloadType, payload, signatures } = parseEnvelope(text, 'vector');
    const signed = preAuthenticationEncoding(payloadType, payload);
    const isValid = (bytes: Uint8Array): boolean =>
      verify(
        'sha256',
        bytes,
        { key: publicKey, dsaEncoding: 'ieee-p1363' },
        signatures[0]?.sig ?? Buffer.alloc(0),
      );
    expect(isValid(signed)).toBe(true);
    expect(isValid(preAuthenticationEncoding('other', payload))).toBe(false);
    expect(parseEnvelope(writeEnvelope({ payloadType, payload, signatures }), 'again')).toEqual({
      payloadType,
      payload,
      signatures,
    });
  });

  it('reads both alphabets of base64 and refuses what is none', () => {
    const envelope = (payload: string) => JSON.stringify({ payloadType: 't', payload, signatures: [] });
    expect(parseEnvelope(envelope('-_-_Pj8='), 'x').payload).toEqual(
      parseEnvelope(envelope('+/+/Pj8='), 'x').payload,
    );
    expect(() => parseEnvelope(envelope('a b'), 'x')).toThrow(/base64/);
  });
});

describe('a record', () => {
  it('is an in-toto statement whose subjects are the outputs', () => {
    const envelope: unknown = JSON.parse(writeRecord(predicate));
    expect(envelope).toMatchObject({ payloadType: 'application/vnd.in-toto+json', signatures: [] });
    const { payload } = parseEnvelope(writeRecord(predicate), 'record');
    expect(JSON.parse(Buffer.from(payload).toString())).toMatchObject({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'out', digest: { sha256: hexOf(out.digest) } }],
      predicateType: 'https://fretsaw.dev/record/v1',
      predicate: { schema: 'fretsaw/record/v1', stage: 'distill' },
    });
    expect(parseRecord(stored(writeRecord(predicate)))).toEqual(predicate);
  });

  it('is the same bytes for the same facts', () => {
    expect(writeRecord(predicate)).toBe(writeRecord(structuredClone(predicate)));
  });

  const altered = (change: (statement: Record<string, unknown>) => unknown): string => {
    const { payloadType, payload } = parseEnvelope(writeRecord(predicate), 'record');
    const statement = JSON.parse(Buffer.from(payload).toString()) as Record<string, unknown>;
    return writeEnvelope({
      payloadType,
      payload: Buffer.from(JSON.stringify(change(statement))),
      signatures: [],
    });
  };
  it.each([
    [
      'an unknown key',
      (s: Record<string, unknown>) => ({ ...s, predicate: { ...predicate, extra: 1 } }),
      /unknown keys extra/,
    ],
    [
      'another predicate type',
      (s: Record<string, unknown>) => ({ ...s, predicateType: 'https://fretsaw.dev/run/v1' }),
      /predicateType/,
    ],
    ['another statement type', (s: Record<string, unknown>) => ({ ...s, _type: 'x' }), /_type/],
    ['no subject', (s: Record<string, unknown>) => ({ ...s, subject: [] }), /about nothing/],
    [
      'an output that is no subject',
      (s: Record<string, unknown>) => ({
        ...s,
        subject: [{ name: 'out', digest: { sha256: '0'.repeat(64) } }],
      }),
      /not a subject/,
    ],
    [
      'another key document',
      (s: Record<string, unknown>) => ({
        ...s,
        predicate: { ...predicate, document: { ...document, version: '2' } },
      }),
      /its key document has/,
    ],
    [
      'an absent member',
      (s: Record<string, unknown>) => ({ ...s, predicate: { ...predicate, run: undefined } }),
      /predicate\.run: expected text, found nothing/,
    ],
    [
      'a digest that is none',
      (s: Record<string, unknown>) => ({ ...s, predicate: { ...predicate, key: 'sha256:abc' } }),
      /predicate\.key/,
    ],
  ])('with %s is refused, and the place is said', (_, change, message) => {
    expect(() => parseRecord(stored(altered(change)))).toThrow(message);
  });
});

describe('attempts and runs', () => {
  it('are written down once and read back', async () => {
    const home = mkdtempSync(join(tmpdir(), 'fretsaw-statements-'));
    try {
      const { documents } = openDiskStore({ home, domain: 'local', trusted: [] });
      const failed = attemptNote(1, { outcome: 'failed', failure: { code: 'NAN_LOSS', message: 'step 7' } });
      const about = { schema: 'fretsaw/attempt/v1' as const, key, run, stage };
      expect(await writeAttempt(documents, { ...about, ...failed })).toBe(true);
      expect(await writeAttempt(documents, { ...about, ...attemptNote(1) })).toBe(false);
      for (const n of [2, 10]) await writeAttempt(documents, { ...about, ...attemptNote(n), outputs });
      expect(await readAttempt(documents, key, 1)).toEqual({ ...about, ...failed });
      expect((await listAttempts(documents, key)).map(({ attempt }) => attempt)).toEqual([1, 2, 10]);

      const plan = digestOfText('plan');
      const started = {
        ...{
          schema: 'fretsaw/run-started/v1' as const,
          run,
          plan,
          startedAt: '2026-01-01T00:00:00.000Z',
          host: 'h',
        },
        spec: { name: 's', path: 's.yaml', profile: null, digest: digestOfText('spec') },
        fretsaw: '0.1.0',
      };
      expect(await writeRunStarted(documents, started)).toBe(true);
      expect(await readStarted(documents, run)).toEqual(started);
      const finished = (state: 'failed' | 'done') => ({
        ...{
          schema: 'fretsaw/run-finished/v1' as const,
          run,
          plan,
          state,
          finishedAt: '2026-01-01T01:00:00.000Z',
        },
        stages: [{ stage, outcome: 'ran' as const, key, outputs }],
      });
      await writeRunFinished(documents, finished('failed'));
      await writeRunFinished(documents, finished('failed'));
      await writeRunFinished(documents, finished('done'));
      expect((await listFinished(documents, run)).map(({ state }) => state)).toEqual(['failed', 'done']);
      expect(await listRuns(documents)).toEqual([run]);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  });
});
