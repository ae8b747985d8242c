import { Failure } from '../core/errors.ts';
import { parseJson, readList, readObject, readPartObject, readText } from './read-json.ts';

/**
 * A DSSE envelope: bytes, what they are, and who vouches for both.
 * @see https://github.com/secure-systems-lab/dsse/blob/master/envelope.md
 */
export interface Envelope {
  payloadType: string;
  payload: Uint8Array;
  /** Zero while nobody signs; adding some changes no signed byte. */
  signatures: Signature[];
}

export interface Signature {
  /** A hint at most: never to be trusted. */
  keyid?: string;
  sig: Uint8Array;
}

/** PAE of the protocol: the bytes that are signed. Lengths are of bytes, not characters. */
export function preAuthenticationEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = Buffer.from(payloadType, 'utf8');
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${type.length} `, 'ascii'),
    type,
    Buffer.from(` ${payload.length} `, 'ascii'),
    payload,
  ]);
}

export function writeEnvelope(envelope: Envelope): string {
  const { payloadType, payload, signatures } = envelope;
  return `${JSON.stringify({
    payloadType,
    payload: Buffer.from(payload).toString('base64'),
    signatures: signatures.map(({ keyid, sig }) => ({
      ...(keyid === undefined ? {} : { keyid }),
      sig: Buffer.from(sig).toString('base64'),
    })),
  })}\n`;
}

export function parseEnvelope(text: string, where: string): Envelope {
  const raw = readRawEnvelope(parseJson(text, where), where);
  return {
    payloadType: raw.payloadType,
    payload: decodeBase64(raw.payload, `${where}.payload`),
    signatures: raw.signatures.map(({ keyid, sig }, index) => ({
      ...(keyid === undefined ? {} : { keyid }),
      sig: decodeBase64(sig, `${where}.signatures[${index}]`),
    })),
  };
}

const readRawEnvelope = readObject({
  payloadType: readText,
  payload: readText,
  signatures: readList(readPartObject({ sig: readText }, { keyid: readText })),
});

/** Both alphabets, as verifiers must; but nothing that Node would skip over in silence. */
function decodeBase64(text: string, where: string): Uint8Array {
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) throw new Failure('CORRUPT', `${where}: not base64`);
  return Buffer.from(text, 'base64');
}
