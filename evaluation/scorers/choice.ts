/**
 * The letter that an answer chose: in the last \boxed{}, after the last "answer is", or the answer's only words. Patterns as
 * MMLU-Pro's own evaluation has them (https://github.com/TIGER-AI-Lab/MMLU-Pro), the last match counts. A small letter
 * counts in brackets only: "the answer is a" goes on. White space is bounded: models repeat it without end.
 */
export function chosenLetter(final: string, choices: number): string | null {
  const last = 64 + choices;
  const [great, small] = [String.fromCharCode(last), String.fromCharCode(last + 32)];
  const letter = `(?:\\(([A-${great}a-${small}])\\)|([A-${great}]))(?![A-Za-z])`;
  const gap = '\\s{0,8}';
  const patterns = [
    new RegExp(`\\\\boxed\\{${gap}(?:\\\\text\\{)?${gap}${letter}`, 'g'),
    new RegExp(
      `(?:[Aa]nswer|ANSWER|[Cc]hoice|[Oo]ption)${gap}(?:is|IS|:)?:?${gap}[*$]{0,3}${gap}${letter}`,
      'g',
    ),
    new RegExp(`^[ \\t]{0,8}\\*{0,3}${letter}\\*{0,3}[.)]?[ \\t]{0,8}$`, 'gm'),
  ];
  for (const pattern of patterns) {
    const match = [...final.matchAll(pattern)].at(-1);
    const found = match?.[1] ?? match?.[2];
    if (found !== undefined) return found.toUpperCase();
  }
  return null;
}
