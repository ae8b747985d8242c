import { defaultPayloadConverter } from '@temporalio/common';
import { expect, test } from 'vitest';
import { EncryptionCodec, parsePayloadKeys } from '../../workers/payload-codec.ts';

const [old, young] = [Buffer.alloc(32, 1).toString('base64'), Buffer.alloc(32, 2).toString('base64')];
const payload = defaultPayloadConverter.toPayload({ stage: 'distill' });

test('a payload comes back as it was, and is not to be read on the way', async () => {
  const codec = new EncryptionCodec(parsePayloadKeys(`a:${old}`));
  const [sealed] = await codec.encode([payload]);
  expect(Buffer.from(sealed?.data ?? []).includes('distill')).toBe(false);
  const [opened] = await codec.decode([sealed ?? {}]);
  expect(defaultPayloadConverter.fromPayload(opened ?? {})).toEqual({ stage: 'distill' });
  const [again] = await codec.encode([payload]);
  expect(again?.data).not.toEqual(sealed?.data);
});

test('a new key in front leaves old payloads readable, and those from before any key', async () => {
  const [sealed] = await new EncryptionCodec(parsePayloadKeys(`a:${old}`)).encode([payload]);
  const codec = new EncryptionCodec(parsePayloadKeys(`b:${young},a:${old}`));
  const opened = await codec.decode([sealed ?? {}, payload]);
  expect(opened.map((one) => defaultPayloadConverter.fromPayload(one))).toEqual([
    { stage: 'distill' },
    { stage: 'distill' },
  ]);
  const [fresh] = await codec.encode([payload]);
  expect(Buffer.from(fresh?.metadata?.['encryption-key-id'] ?? []).toString()).toBe('b');
});

test('a changed payload, an unknown key and a short key are refused; a key is never shown', async () => {
  const codec = new EncryptionCodec(parsePayloadKeys(`a:${old}`));
  const [sealed] = await codec.encode([payload]);
  const changed = Buffer.from(sealed?.data ?? []);
  changed[20] = (changed[20] ?? 0) ^ 1;
  await expect(codec.decode([{ ...sealed, data: changed }])).rejects.toMatchObject({ code: 'CORRUPT' });
  const other = new EncryptionCodec(parsePayloadKeys(`b:${young}`));
  await expect(other.decode([sealed ?? {}])).rejects.toThrow('encrypted with key a');
  expect(() => parsePayloadKeys('a:c2hvcnQ=')).toThrow(/^(?!.*c2hvcnQ)/);
});
