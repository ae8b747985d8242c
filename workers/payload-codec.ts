import { METADATA_ENCODING_KEY, type Payload, type PayloadCodec } from '@temporalio/common';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import protobuf from 'protobufjs';
import { Failure } from '../core/errors.ts';

const encoding = 'binary/encrypted';
const keyIdField = 'encryption-key-id';
const [keyBytes, nonceBytes, tagBytes] = [32, 12, 16];

/** Names and keys; the first encrypts, all decrypt. */
export type PayloadKeys = readonly (readonly [id: string, key: Uint8Array])[];

/** `id:base64[,id:base64...]`, each key of 32 bytes: `openssl rand -base64 32` makes one. */
export function parsePayloadKeys(text: string): PayloadKeys {
  return text.split(',').map((part) => {
    const at = part.indexOf(':');
    const [id, key] = [part.slice(0, at), Buffer.from(part.slice(at + 1), 'base64')];
    if (at > 0 && key.length === keyBytes) return [id, key] as const;
    // The text itself holds keys and is not shown.
    throw new Failure(
      'BAD_INPUT',
      `FRETSAW_PAYLOAD_KEYS: expected id:base64 of ${keyBytes} bytes, separated by commas`,
    );
  });
}

/**
 * Encrypts every payload with AES-256-GCM before it leaves for Temporal: nonce, ciphertext, tag; a key's id stands beside it, so that
 * keys can be changed while old histories stay readable. The bytes are those of Temporal's own samples, which its tools' codec servers read.
 * @see https://docs.temporal.io/payload-codec
 */
export class EncryptionCodec implements PayloadCodec {
  readonly #keys: PayloadKeys;

  constructor(keys: PayloadKeys) {
    this.#keys = keys;
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const [first] = this.#keys;
    if (first === undefined) throw new Error('bug: no key to encrypt payloads with');
    const [id, key] = first;
    return payloads.map((payload) => ({
      metadata: { [METADATA_ENCODING_KEY]: Buffer.from(encoding), [keyIdField]: Buffer.from(id) },
      data: encrypt(key, payloadType.encode(payload).finish()),
    }));
  }

  /** What was written without a key, before there was one, passes as it is. */
  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) => {
      if (textOf(payload.metadata?.[METADATA_ENCODING_KEY]) !== encoding) return payload;
      const id = textOf(payload.metadata?.[keyIdField]);
      const key = this.#keys.find(([name]) => name === id)?.[1];
      if (key === undefined)
        throw new Failure(
          'BAD_INPUT',
          `a payload is encrypted with key ${id}, which FRETSAW_PAYLOAD_KEYS has not`,
        );
      const { metadata, data } = payloadType.decode(
        decrypt(key, payload.data ?? new Uint8Array()),
      ) as Payload;
      return { ...(metadata ? { metadata } : {}), ...(data ? { data } : {}) };
    });
  }
}

function encrypt(key: Uint8Array, plain: Uint8Array): Uint8Array {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Uint8Array, sealed: Uint8Array): Uint8Array {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, nonceBytes));
  decipher.setAuthTag(sealed.subarray(-tagBytes));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(nonceBytes, -tagBytes)), decipher.final()]);
  } catch (cause) {
    throw new Failure(
      'CORRUPT',
      'a payload was changed after it was encrypted, or with another key of this id',
      { cause },
    );
  }
}

function textOf(bytes: Uint8Array | null | undefined): string {
  return Buffer.from(bytes ?? []).toString('utf8');
}

/** `temporal.api.common.v1.Payload`. */
const payloadType = new protobuf.Type('Payload')
  .add(new protobuf.MapField('metadata', 1, 'string', 'bytes'))
  .add(new protobuf.Field('data', 2, 'bytes'));
