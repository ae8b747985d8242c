/** `did you mean "distill"?`, or undefined when nothing is near. */
export function didYouMean(name: string, known: Iterable<string>): string | undefined {
  const near = nearest(name, known);
  return near === undefined ? undefined : `did you mean ${near}?`;
}

/** The hint for an unknown name: the nearest one, else the whole list when it is short. */
export function suggestion(name: string, known: Iterable<string>): string | undefined {
  const all = [...known];
  const near = didYouMean(name, all);
  if (near !== undefined) return near;
  return all.length > 0 && all.length <= 20 ? `known: ${all.join(', ')}` : undefined;
}

/** The nearest name by edits; undefined when the nearest differs in more than a third of it. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: { name: string; distance: number } | undefined;
  for (const candidate of known) {
    const limit = Math.max(1, Math.ceil(Math.max(name.length, candidate.length) / 3));
    if (Math.abs(name.length - candidate.length) > limit) continue;
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance <= limit && (best === undefined || distance < best.distance))
      best = { name: candidate, distance };
  }
  return best?.name;
}

/**
 * Damerau-Levenshtein distance (optimal string alignment): insertions, deletions, substitutions and
 * swaps of neighbours.
 */
export function editDistance(a: string, b: string): number {
  let older: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      const least = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + cost);
      row.push(
        isSwap(a.slice(Math.max(0, i - 2), i), b.slice(Math.max(0, j - 2), j))
          ? Math.min(least, (older[j - 2] ?? 0) + 1)
          : least,
      );
    }
    older = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}

function isSwap(a: string, b: string): boolean {
  return a.length === 2 && b.length === 2 && a[0] === b[1] && a[1] === b[0];
}
