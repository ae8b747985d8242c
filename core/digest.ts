/** `sha256:` and 64 lower-case hex digits. Made only by `parseDigest` or `digestOf`. */
export type Digest = string & { readonly __brand: 'Digest' };

/** Passed in, so that core needs no `node:crypto`: hex sha256 of UTF-8 text. */
export type Sha256 = (text: string) => string;

const pattern = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return pattern.test(text);
}

export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw new TypeError(`expected sha256:<64 hex digits>, found ${JSON.stringify(text)}`);
  return text;
}

/** Brands 64 hex digits that a hash function has just made. */
export function digestFromHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`);
}

export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** For people: the first 12 hex digits. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}
