/** Which snapshots of a stage are kept; `keep_snapshots` and `keep_every` of its resources. */
export interface SnapshotPolicy {
  /** So many of the newest; all when absent. Two or more leave one to fall back to. */
  keep_snapshots?: number;
  /** Beside them, every step that is a multiple of this. */
  keep_every?: number;
}

/** What the policy lets go, of snapshots in any order. */
export function snapshotsToDrop<S extends { step: number; attempt: number }>(
  snapshots: readonly S[],
  { keep_snapshots: last, keep_every: every }: SnapshotPolicy,
): S[] {
  if (last === undefined) return [];
  const newestFirst = [...snapshots].sort((a, b) => b.step - a.step || b.attempt - a.attempt);
  return newestFirst.slice(last).filter(({ step }) => every === undefined || step % every !== 0);
}
