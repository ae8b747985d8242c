import { JsonFields } from '../json-fields.ts';

/** One verifiable instruction, as IFEval (arXiv 2311.07911) and IFBench (arXiv 2507.02833) name them. */
export interface Instruction {
  id: string;
  args: JsonFields;
}

type Check = (answer: string, args: JsonFields) => boolean;

/**
 * No pattern here looks at a long run twice: answers that repeat one character to their cap are common, and must not
 * cost hours. The instructions that can be checked without a tagger or a word list. An id that is not here has no checker:
 * `isCheckable` says so before a question is asked.
 */
const checks: Readonly<Record<string, Check>> = {
  'count:word_count_range': (answer, args) =>
    within(words(answer).length, args.integer('min_words'), args.integer('max_words')),
  'count:unique_word_count': (answer, args) => new Set(words(answer.toLowerCase())).size >= args.integer('N'),
  'count:numbers': (answer, args) =>
    (answer.match(/(?<![\w.,])\d+(?:[.,]\d+)*(?![\w])/g) ?? []).length === args.integer('N'),
  'count:punctuation': (answer) => ['.', ',', '!', '?', ';', ':'].every((mark) => answer.includes(mark)),
  'words:alphabet': (answer) => isAlphabetLoop(words(answer.toLowerCase())),
  'words:palindrome': (answer) =>
    new Set(words(answer.toLowerCase()).filter((word) => word.length >= 5 && isPalindrome(word))).size >= 10,
  'words:prime_lengths': (answer) => words(answer).every((word) => isPrime(word.length)),
  'words:repeats': (answer, args) => mostRepeats(answer) <= args.integer('small_n'),
  'words:no_consecutive': (answer) =>
    neighbours(words(answer.toLowerCase())).every(([a, b]) => a[0] !== b[0]),
  'words:paragraph_last_first': (answer) =>
    answer
      .split('\n')
      .map((paragraph) => words(paragraph.toLowerCase()))
      .every((all) => all.length === 0 || all[0] === all.at(-1)),
  'words:last_first': (answer) =>
    neighbours(sentences(answer).map((sentence) => words(sentence.toLowerCase()))).every(
      ([a, b]) => a.at(-1) === b[0],
    ),
  'format:newline': (answer) =>
    answer
      .trim()
      .split('\n')
      .filter((line) => line.trim() !== '')
      .every((line) => line.trim().split(/\s+/).length === 1),
  'format:no_whitespace': (answer) => !/\s/.test(answer),
  'format:list': (answer, args) =>
    answer.split('\n').filter((line) => line.trim().startsWith(args.text('sep'))).length > 1,
  'format:line_indent': (answer) => {
    const indents = answer
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => line.search(/\S/));
    return neighbours(indents).every(([a, b]) => b > a);
  },
  'format:options': (answer, args) =>
    args
      .text('options')
      .split(/[/,]|\bor\b/)
      .map((option) => option.trim().toLowerCase())
      .includes(answer.trim().replace(/[.]$/, '').toLowerCase()),
  'sentence:keyword': (answer, args) =>
    (sentences(answer)[args.integer('N') - 1] ?? '').toLowerCase().includes(args.text('word').toLowerCase()),
  'sentence:increment': (answer, args) => {
    const lengths = sentences(answer).map((sentence) => words(sentence).length);
    return neighbours(lengths).every(([a, b]) => b === a + args.integer('small_n'));
  },
  'ratio:sentence_words': (answer) => {
    const three = sentences(answer).map((sentence) => sentence.trim().length);
    return three.length === 3 && new Set(three).size === 1;
  },
  'ratio:sentence_balance': (answer) => {
    const ends = sentences(answer).map((sentence) => sentence.trim().at(-1));
    const counts = ['.', '?', '!'].map((mark) => ends.filter((end) => end === mark).length);
    return new Set(counts).size === 1 && counts[0] !== 0;
  },
  'ratio:sentence_type': (answer) => {
    const ends = sentences(answer).map((sentence) => sentence.trim().at(-1));
    const questions = ends.filter((end) => end === '?').length;
    return questions > 0 && ends.filter((end) => end === '.').length === 2 * questions;
  },
  'punctuation:no_comma': (answer) => !answer.includes(','),
  'change_case:english_lowercase': (answer) => answer === answer.toLowerCase(),
  'change_case:english_capital': (answer) => answer === answer.toUpperCase(),
  'startend:end_checker': (answer, args) =>
    answer.trim().toLowerCase().endsWith(args.text('end_phrase').trim().toLowerCase()),
  'startend:quotation': (answer) => /^".*"$/s.test(answer.trim()),
  'keywords:existence': (answer, args) => args.texts('keywords').every((word) => hasWord(answer, word)),
  'keywords:forbidden_words': (answer, args) =>
    args.texts('forbidden_words').every((word) => !hasWord(answer, word)),
  'keywords:frequency': (answer, args) =>
    related(args, countOf(answer, args.text('keyword')), args.integer('frequency')),
  'length_constraints:number_words': (answer, args) =>
    related(args, words(answer).length, args.integer('num_words')),
  'length_constraints:number_sentences': (answer, args) =>
    related(args, sentences(answer).length, args.integer('num_sentences')),
  'length_constraints:number_paragraphs': (answer, args) =>
    answer.split('***').filter((part) => part.trim() !== '').length === args.integer('num_paragraphs'),
  'detectable_format:json_format': (answer) => isJson(answer),
  'detectable_format:title': (answer) =>
    [...answer.matchAll(/<<([^\n<>]*)>>/g)].some(([, title = '']) => title.trim() !== ''),
  'detectable_format:number_bullet_lists': (answer, args) =>
    (answer.match(/^[^\S\n]*[*-](?![*-])[^\S\n]*\S/gm) ?? []).length === args.integer('num_bullets'),
  'detectable_content:number_placeholders': (answer, args) =>
    (answer.match(/\[[^[\]]+\]/g) ?? []).length >= args.integer('num_placeholders'),
};

export const checkableInstructions: readonly string[] = Object.keys(checks);

export function isCheckable(id: string): boolean {
  return Object.hasOwn(checks, id);
}

/** Prompt-level accuracy: every instruction holds. `loose` also accepts it without first or last line or asterisks. */
export function followsAll(answer: string, instructions: readonly Instruction[], isLoose: boolean): boolean {
  const variants = isLoose ? looseVariants(answer) : [answer];
  return instructions.every(({ id, args }) =>
    variants.some((variant) => variant.trim() !== '' && checks[id]?.(variant, args) === true),
  );
}

function looseVariants(answer: string): string[] {
  const lines = answer.split('\n');
  const cut = [lines, lines.slice(1), lines.slice(0, -1), lines.slice(1, -1)].map((part) =>
    part.join('\n').trim(),
  );
  return [answer, ...cut, ...cut.map((text) => text.replaceAll('*', ''))];
}

function words(text: string): string[] {
  return text.match(/[\p{L}\p{N}](?:[\p{L}\p{N}'’-]*[\p{L}\p{N}])?/gu) ?? [];
}

/** A sentence ends where white space follows its mark: 3.5 ends none. */
function sentences(text: string): string[] {
  return text.split(/(?<=[.!?])\s+/).filter((part) => /[^.!?\s]/.test(part));
}

function neighbours<T>(items: readonly T[]): [T, T][] {
  return items.slice(1).map((item, index) => [items[index] as T, item]);
}

function within(value: number, least: number, most: number): boolean {
  return value >= least && value <= most;
}

/** IFEval's `relation`: "less than" or "at least". */
function related(args: JsonFields, value: number, limit: number): boolean {
  return args.text('relation') === 'less than' ? value < limit : value >= limit;
}

function countOf(text: string, word: string): number {
  return (text.match(new RegExp(`(?<![\\p{L}\\p{N}])${escapePattern(word)}(?![\\p{L}\\p{N}])`, 'giu')) ?? [])
    .length;
}

function hasWord(text: string, word: string): boolean {
  return countOf(text, word) > 0;
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

function isPalindrome(word: string): boolean {
  return word === Array.from(word).reverse().join('');
}

function isPrime(value: number): boolean {
  if (value < 2) return false;
  for (let factor = 2; factor * factor <= value; factor++) if (value % factor === 0) return false;
  return true;
}

function isAlphabetLoop(all: readonly string[]): boolean {
  return neighbours(all.map((word) => word.charCodeAt(0) - 97)).every(([a, b]) => b === (a + 1) % 26);
}

function mostRepeats(answer: string): number {
  const counts = new Map<string, number>();
  for (const word of words(answer.toLowerCase())) counts.set(word, (counts.get(word) ?? 0) + 1);
  let most = 0;
  for (const count of counts.values()) most = Math.max(most, count);
  return most;
}

function isJson(answer: string): boolean {
  try {
    const text = answer.trim();
    JSON.parse(text.endsWith('```') ? text.slice(0, -3).replace(/^```(?:json)?/i, '') : text);
    return true;
  } catch {
    return false;
  }
}
