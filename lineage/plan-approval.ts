import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import type { Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import type { Documents } from '../store/store.ts';
import { parseEnvelope, preAuthenticationEncoding, writeEnvelope, type Signature } from './dsse.ts';
import { parseJson, readDigest, readObject, readOneOf, readText, type Read } from './read-json.ts';

const payloadType = 'application/vnd.fretsaw.plan-approval+json';

/** Somebody stands for a plan: `runs/<run>/approval`, signed with Ed25519. Pools with an allow-list ask for it. */
export interface PlanApproval {
  schema: 'fretsaw/plan-approval/v1';
  /** sha256 of the stored plan, byte for byte. */
  plan: Digest;
  /** The branch that the spec was on as its signer says; empty when it was on none. */
  branch: string;
  /** The commit that was checked out; `+changes` behind it when the working tree differed. */
  commit: string;
}

const readApproval: Read<PlanApproval> = readObject({
  schema: readOneOf(['fretsaw/plan-approval/v1']),
  plan: readDigest,
  branch: readText,
  commit: readText,
});

/** `pem`: an Ed25519 private key in PKCS #8. */
export function signApproval(approval: PlanApproval, pem: string): string {
  const key = readPrivateKey(pem);
  const payload = Buffer.from(JSON.stringify(approval), 'utf8');
  const sig = sign(null, preAuthenticationEncoding(payloadType, payload), key);
  return writeEnvelope({ payloadType, payload, signatures: [{ keyid: publicKeyOf(key), sig }] });
}

export interface TrustedKey {
  name: string;
  /** SubjectPublicKeyInfo in base64. */
  key: string;
}

/** What a run's approval says, with the names of those keys that signed it; undefined when there is none. */
export async function readApprovalOf(
  documents: Documents,
  run: string,
  keys: readonly TrustedKey[],
): Promise<{ approval: PlanApproval; signers: string[] } | undefined> {
  const where = `runs/${run}/approval`;
  const text = await documents.read(where);
  if (text === undefined) return undefined;
  const envelope = parseEnvelope(text, where);
  if (envelope.payloadType !== payloadType) {
    throw new Failure('CORRUPT', `${where}: expected ${payloadType}, found ${envelope.payloadType}`);
  }
  const bytes = preAuthenticationEncoding(envelope.payloadType, envelope.payload);
  const signers = keys.filter((key) => envelope.signatures.some((signature) => isBy(key, bytes, signature)));
  const approval = readApproval(parseJson(Buffer.from(envelope.payload).toString('utf8'), where), where);
  return { approval, signers: signers.map(({ name }) => name) };
}

/** The public half of a private key, as pool files list it. */
export function publicKeyOf(key: KeyObject | string): string {
  const whole = typeof key === 'string' ? readPrivateKey(key) : key;
  return createPublicKey(whole).export({ type: 'spki', format: 'der' }).toString('base64');
}

function readPrivateKey(pem: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The cause may quote the text.
    throw new Failure('BAD_INPUT', 'the signing key is no private key in PEM');
  }
  if (key.asymmetricKeyType === 'ed25519') return key;
  throw new Failure(
    'BAD_INPUT',
    `the signing key is ${key.asymmetricKeyType ?? 'unknown'}, expected ed25519`,
  );
}

function isBy({ key }: TrustedKey, bytes: Uint8Array, { sig }: Signature): boolean {
  const publicKey = createPublicKey({ key: Buffer.from(key, 'base64'), type: 'spki', format: 'der' });
  return verify(null, bytes, publicKey, sig);
}
