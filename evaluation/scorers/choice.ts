/**
 * The letter that an answer chose: after the last "answer is", in the last \boxed{}, or the answer's only words.
 * Patterns as MMLU-Pro's own evaluation has them (https://github.com/TIGER-AI-Lab/MMLU-Pro), the last match counts.
 */
export function chosenLetter(final: string, choices: number): string | null {
  const last = String.fromCharCode(64 + choices);
  const letter = `\\(?([A-${last}])\\)?(?![A-Za-z])`;
  const patterns = [
    new RegExp(`\\\\boxed\\{\\s*(?:\\\\text\\{)?\\s*${letter}`, 'g'),
    new RegExp(`(?:answer|choice|option)\\s*(?:is|:)?\\s*\\**\\s*${letter}`, 'gi'),
    new RegExp(`^\\s*\\**${letter}\\**[.)]?\\s*$`, 'gm'),
  ];
  for (const pattern of patterns) {
    const found = [...final.matchAll(pattern)].at(-1)?.[1];
    if (found !== undefined) return found.toUpperCase();
  }
  return null;
}
