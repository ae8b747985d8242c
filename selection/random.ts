/** Seeded numbers in [0, 1), the same on every machine (mulberry32, period 2^32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A standard normal by the polar Box-Muller transform; one of each pair is used. */
export function seededNormal(random: () => number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return radius * Math.cos(2 * Math.PI * random());
}

/** An index below `count`. */
export function seededIndex(random: () => number, count: number): number {
  return Math.min(count - 1, Math.floor(random() * count));
}
