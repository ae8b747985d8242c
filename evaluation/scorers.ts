/**
 * Verifiable scores of what stood in the final channel. The same rules as the engine's
 * (engine/src/fretsaw_engine/rehearsal/scorers.py); both sides are tested on engine/contract/scorers.golden.json.
 */
export const scorerNames = ['exact', 'number'] as const;
export type ScorerName = (typeof scorerNames)[number];

/** `exact`: equal but for white space. `number`: the last word is the number asked for. No final channel is wrong. */
export function isCorrect(scorer: ScorerName, answer: string, final: string | null): boolean {
  if (final === null) return false;
  const words = splitWords(final);
  switch (scorer) {
    case 'exact': {
      const expected = splitWords(answer);
      return words.length === expected.length && words.every((word, index) => word === expected[index]);
    }
    case 'number': {
      const last = words.at(-1);
      return last !== undefined && isDecimal(last) && BigInt(last) === BigInt(answer);
    }
  }
}

/** What Python's str.split() takes for white space; JavaScript's \s is another set. */
const whiteSpace = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u; // eslint-disable-line no-control-regex -- the separators are control characters

function splitWords(text: string): string[] {
  return text.split(whiteSpace).filter((word) => word !== '');
}

function isDecimal(word: string): boolean {
  return /^[0-9]+$/.test(word);
}
