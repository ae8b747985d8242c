export interface BackoffOptions {
  firstMs: number;
  mostMs: number;
  /** In [0, 1): spreads clients that failed together. */
  random: () => number;
}

/** Doubling waits with full jitter; never shorter than the server asked for. `tries` counts from 1. */
export function backoffMs(
  tries: number,
  retryAfterMs: number | undefined,
  { firstMs, mostMs, random }: BackoffOptions,
): number {
  const wait = Math.min(mostMs, firstMs * 2 ** (tries - 1));
  return Math.max(retryAfterMs ?? 0, wait * (0.5 + random() / 2));
}
