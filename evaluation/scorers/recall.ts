/**
 * RULER's two metrics: `all`, the share of the references that stand in the answer; `any`, whether one does; without
 * regard to case.
 *
 * @see https://github.com/NVIDIA/RULER (string_match_all, string_match_part), arXiv 2404.06654
 */
export function recallShare(final: string, references: readonly string[], part: 'all' | 'any'): number {
  const text = final.toLowerCase();
  const found = references.filter((reference) => text.includes(reference.toLowerCase())).length;
  return part === 'any' ? Number(found > 0) : found / references.length;
}
