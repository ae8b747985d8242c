/** Bounds of a chunk in bytes. A change moves the bounds near it and no others. */
const minChunkBytes = 256 << 10;
const meanChunkBytes = 1 << 20;
export const maxChunkBytes = 4 << 20;

// More bits must be zero before the mean than after it, so that sizes gather round it ("normalised
// chunking"). High bits: in a gear hash they depend on the last 32 bytes, low ones on fewer.
const strictMask = 0xfffff000 | 0; // 20 bits: one in a mebibyte
const easyMask = 0xffffc000 | 0; // 18 bits: four in one
const gear = gearTable();

/**
 * Where the first chunk of `bytes` ends, by FastCDC (Xia et al., USENIX ATC 2016) with a gear hash of 32
 * bits. `isEnd`: no bytes follow. Undefined when more bytes are needed to tell.
 */
export function chunkEnd(bytes: Uint8Array, isEnd: boolean): number | undefined {
  const limit = Math.min(bytes.length, maxChunkBytes);
  const middle = Math.min(limit, meanChunkBytes);
  let hash = 0;
  let at = Math.min(limit, minChunkBytes);
  for (; at < middle; at++) {
    hash = ((hash << 1) + (gear[bytes[at] ?? 0] ?? 0)) | 0;
    if ((hash & strictMask) === 0) return at + 1;
  }
  for (; at < limit; at++) {
    hash = ((hash << 1) + (gear[bytes[at] ?? 0] ?? 0)) | 0;
    if ((hash & easyMask) === 0) return at + 1;
  }
  return limit === maxChunkBytes || (isEnd && limit > 0) ? limit : undefined;
}

/** 256 fixed words (xorshift32). They may change: then old and new chunks share nothing, and both stay readable. */
function gearTable(): Int32Array {
  const table = new Int32Array(256);
  let state = 0x2545f491;
  for (let n = 0; n < table.length; n++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    table[n] = state;
  }
  return table;
}
