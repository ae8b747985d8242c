import type { DataConverter } from '@temporalio/common';
import { EncryptionCodec, parsePayloadKeys } from './payload-codec.ts';

/** How payloads are written: encrypted when FRETSAW_PAYLOAD_KEYS is set, for every client and worker alike. */
export function dataConverter(env: NodeJS.ProcessEnv): { dataConverter?: DataConverter } {
  const keys = env['FRETSAW_PAYLOAD_KEYS'] || undefined;
  return keys === undefined
    ? {}
    : { dataConverter: { payloadCodecs: [new EncryptionCodec(parsePayloadKeys(keys))] } };
}
