import { canonicalJson, type Json } from './canonical-json.ts';
import { digestFromHex, type Digest, type Sha256 } from './digest.ts';

/** sha256 of a KeyDocument's canonical JSON. Two stages with one key are the same work. */
export type StageKey = Digest & { readonly __key: 'StageKey' };

/** The artifact digests behind one input: one, a list in order, or a map by name. */
export type InputDigests = Digest | readonly Digest[] | { readonly [name: string]: Digest };

/** Everything that was asked for, and nothing about how it is run. */
export interface KeyDocument {
  schema: 'fretsaw/key/v1';
  kind: string;
  /** The kind's version; `3+dirty.<hash>` when its code differs from the pinned digest. */
  version: string;
  /** Fully resolved with defaults, so that writing a default out changes nothing. */
  with: { readonly [name: string]: Json };
  /** Content digests, not stage keys: an upstream stage that gives the same bytes again changes nothing here. */
  inputs: { readonly [name: string]: InputDigests };
  /** Only for kinds whose subject is hardware: measured before the key is made. */
  environment?: { readonly [name: string]: Json };
}

export function stageKey(document: KeyDocument, sha256: Sha256): StageKey {
  return digestFromHex(sha256(canonicalJson(document))) as StageKey;
}
