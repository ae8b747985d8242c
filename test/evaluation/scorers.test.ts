import { describe, expect, it } from 'vitest';
import { JsonFields } from '../../evaluation/json-fields.ts';
import { isCorrect } from '../../evaluation/scorers.ts';
import { chosenLetter } from '../../evaluation/scorers/choice.ts';
import { checkableInstructions, followsAll } from '../../evaluation/scorers/format-checks.ts';
import { readVerdict } from '../../evaluation/scorers/judge.ts';
import { equalMath, mathAnswer } from '../../evaluation/scorers/math.ts';
import { recallShare } from '../../evaluation/scorers/recall.ts';
import { fitsAnswer, readScorer } from '../../evaluation/scorers/scorer.ts';
import { readContract } from './golden.ts';

const cases = readContract('scorers.golden.json').records('cases');

describe('scorers', () => {
  it.each(
    cases.map(
      (each) => [JSON.stringify([each.raw('scorer'), each.raw('answer'), each.raw('final')]), each] as const,
    ),
  )('agree with the engine on %s', (_, each) => {
    const final = each.has('final') ? each.text('final') : null;
    const { kind } = readScorer(each, 'golden');
    if (kind !== 'exact' && kind !== 'number') throw new Error(kind);
    expect(isCorrect(kind, each.text('answer'), final)).toBe(each.boolean('correct'));
  });

  it('tell an unknown scorer and what is known', () => {
    expect(() => readScorer(JsonFields.of({ scorer: 'exakt' }, 'line 1'), 'line 1')).toThrow(
      'line 1: unknown scorer exakt; known: exact, number, choice, math, recall, format, code, judge',
    );
  });

  it('refuse an instruction that nothing checks, before a question is asked', () => {
    const scorer = { kind: 'format', instructions: [{ id: 'words:start_verb' }] };
    expect(() => readScorer(JsonFields.of({ scorer }, 'line'), 'line')).toThrow(
      'no check for words:start_verb',
    );
  });

  it('judge only by an answer that fits them', () => {
    expect(fitsAnswer({ kind: 'number' }, '-16')).toBe(true);
    expect(fitsAnswer({ kind: 'number' }, 'fig')).toBe(false);
    expect(fitsAnswer({ kind: 'choice', choices: 4 }, 'D')).toBe(true);
    expect(fitsAnswer({ kind: 'choice', choices: 4 }, 'E')).toBe(false);
  });
});

describe('a chosen letter', () => {
  it.each([
    ['The answer is (C).', 'C'],
    ['the answer is B', 'B'],
    ['Answer: **D**', 'D'],
    ['Not (A). So the answer is (A)? No: the answer is (J).', 'J'],
    ['so \\boxed{\\text{E}}', 'E'],
    ['B', 'B'],
    ['**(F)**', 'F'],
    ['A banana is yellow', null],
    ['The answer is a banana', null],
    ['the answer is (b)', 'B'],
    ['Answer: $C$', 'C'],
    ['(a)', 'A'],
    ['The answer is Copper', null],
    ['', null],
  ])('in %j is %s', (final, letter) => {
    expect(chosenLetter(final, 10)).toBe(letter);
  });

  it('beyond the choices is none', () => {
    expect(chosenLetter('The answer is (E)', 4)).toBeNull();
  });
});

describe('equality of numbers and expressions', () => {
  it.each([
    ['1/2', '0.5'],
    ['\\frac{1}{2}', '\\dfrac12'],
    ['3', '$3$'],
    ['1,234', '1234'],
    ['10', '10 \\text{ cm}'],
    ['30', '30^\\circ'],
    ['0.25', '25\\%'],
    ['\\sqrt{2}/2', '\\frac{1}{\\sqrt{2}}'],
    ['2\\pi', '2*3.14159265358979'],
    ['-3', '\u22123'],
    ['(1,2)', '1, 2'],
    ['x = 5', '5'],
    ['2^{10}', '1024'],
    ['\\frac{\\frac{1}{2}}{3}', '1/6'],
    ['12345678901234567890', '12345678901234567890.0'],
    ['9', '9 meters'],
    ['9 m', '9 meters'],
    ['4 cm^2', '4 cm2'],
  ])('holds between %s and %s', (a, b) => {
    expect(equalMath(a, b)).toBe(true);
    expect(equalMath(b, a)).toBe(true);
  });

  it.each([
    ['1/2', '0.51'],
    ['12345678901234567890', '12345678901234567891'],
    ['(1,2)', '(2,1)'],
    ['3', ''],
    ['3', '3 4'],
    ['70', '7'],
    ['9 m', '9 seconds'],
    ['4 cm^2', '4 cm'],
    ['1', '9^9^9^9'],
    ['1', '1 '.repeat(2000)],
    ['1/0', '1/0 '.repeat(60)],
    ['5', 'process.exit()'],
  ])('does not hold between %s and %s', (a, b) => {
    expect(equalMath(a, b)).toBe(false);
  });

  it.each([
    ['so \\boxed{\\frac{1}{2}} and done', '\\frac{1}{2}'],
    ['first \\boxed{1}, no: \\boxed{2}', '2'],
    ['I think\nThe answer is 42.', '42'],
    ['17', '17'],
  ])('takes %j for %s', (final, answer) => {
    expect(mathAnswer(final)).toBe(answer);
  });
});

/** What models write when they go round in circles up to a cap of tens of thousands of tokens. */
const degenerate: readonly [string, string][] = [
  ['spaces', `answer${' '.repeat(200_000)}x`],
  ['line breaks', `The answer is${'\n'.repeat(200_000)}x`],
  ['dots', `so ${'.'.repeat(200_000)}x`],
  ['fractions', `\\boxed{${'\\frac{1}{2}+'.repeat(20_000)}}`],
  ['open brackets', '['.repeat(100_000) + '(<<{'.repeat(50_000)],
  ['a title without end', `<<${'a '.repeat(100_000)}`],
  ['one word', `${'a'.repeat(200_000)}.b`],
  ['an open code block', `\`\`\`python${'\n'.repeat(200_000)}`],
  ['the phrase', 'the answer is '.repeat(20_000)],
  ['digits', '1,'.repeat(100_000)],
  ['words', Array.from({ length: 150_000 }, (_, at) => `w${at}`).join(' ')],
];

const everyArgument = {
  ...{ N: 3, small_n: 2, min_words: 1, max_words: 9, frequency: 2, num_words: 5, num_sentences: 3 },
  ...{ num_paragraphs: 2, num_bullets: 2, num_placeholders: 2, relation: 'at least', sep: '-', word: 'fig' },
  ...{ keyword: 'fig', keywords: ['fig'], forbidden_words: ['fig'], end_phrase: 'fig', options: 'yes/no' },
};

describe('an answer that goes round in circles', () => {
  it.each(degenerate)('by %s is judged at once', (_, final) => {
    const started = performance.now();
    expect(equalMath('42', mathAnswer(final))).toBe(false);
    expect(chosenLetter(final, 10)).toBeNull();
    expect(recallShare(final, ['needle'], 'all')).toBe(0);
    for (const id of checkableInstructions) {
      const args = JsonFields.of({ id, ...everyArgument }, id);
      expect(typeof followsAll(final, [{ id, args }], true)).toBe('boolean');
    }
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});

describe('recall', () => {
  it('is the share of references that stand in the answer, or whether any does', () => {
    expect(recallShare('It is ABCDE and fghij', ['abcde', 'FGHIJ'], 'all')).toBe(1);
    expect(recallShare('It is ABCDE', ['abcde', 'FGHIJ'], 'all')).toBe(0.5);
    expect(recallShare('It is ABCDE', ['abcde', 'FGHIJ'], 'any')).toBe(1);
    expect(recallShare('no', ['abcde'], 'any')).toBe(0);
  });
});

describe('a format check', () => {
  const check = (id: string, args: object, answer: string): boolean =>
    followsAll(answer, [{ id, args: JsonFields.of(args, id) }], false);

  it.each<[string, object, string, string]>([
    ['count:word_count_range', { min_words: 2, max_words: 3 }, 'two words', 'one'],
    ['count:unique_word_count', { N: 3 }, 'a b c a', 'a a b'],
    ['count:numbers', { N: 2 }, 'from 3 to 1,200', 'only 7'],
    ['count:punctuation', {}, 'a. b, c! d? e; f:', 'a. b, c! d? e;'],
    ['words:alphabet', {}, 'apple bear cat', 'apple cat bear'],
    ['words:prime_lengths', {}, 'an ant adore', 'an ants'],
    ['words:repeats', { small_n: 1 }, 'all words differ', 'all all differ'],
    ['words:no_consecutive', {}, 'big cat ran', 'big bat ran'],
    ['words:paragraph_last_first', {}, 'end to end', 'start to end'],
    ['words:last_first', {}, 'I like tea. Tea is hot.', 'I like tea. It is hot.'],
    ['format:newline', {}, 'one\ntwo', 'one two'],
    ['format:no_whitespace', {}, 'nospace', 'a space'],
    ['format:list', { sep: '>>' }, '>> a\n>> b', '- a\n- b'],
    ['format:line_indent', {}, 'a\n b\n  c', 'a\nb'],
    ['format:options', { options: 'yes/no/maybe' }, 'Maybe.', 'perhaps'],
    ['sentence:keyword', { N: 2, word: 'fig' }, 'One. A fig here.', 'A fig. None.'],
    ['sentence:increment', { small_n: 1 }, 'One two. One two three.', 'One two. One two.'],
    ['ratio:sentence_balance', {}, 'A. B? C!', 'A. B. C!'],
    ['ratio:sentence_type', {}, 'A. B. C?', 'A. B? C?'],
    ['punctuation:no_comma', {}, 'none here', 'one, here'],
    ['change_case:english_lowercase', {}, 'lower', 'Upper'],
    ['keywords:existence', { keywords: ['fig', 'plum'] }, 'a Fig, a plum', 'figs, a plum'],
    ['keywords:forbidden_words', { forbidden_words: ['fig'] }, 'figs', 'a fig'],
    ['keywords:frequency', { keyword: 'fig', frequency: 2, relation: 'at least' }, 'fig fig', 'fig'],
    ['length_constraints:number_words', { relation: 'less than', num_words: 3 }, 'one two', 'one two three'],
    ['length_constraints:number_sentences', { relation: 'at least', num_sentences: 2 }, 'A b. C d.', 'A b.'],
    ['length_constraints:number_paragraphs', { num_paragraphs: 2 }, 'a\n***\nb', 'a\n\nb'],
    ['detectable_format:json_format', {}, '```json\n{"a": 1}\n```', '{a: 1}'],
    ['detectable_format:title', {}, '<<A title>>', '<< >>'],
    ['detectable_format:number_bullet_lists', { num_bullets: 2 }, '* a\n* b', '* a'],
    ['detectable_content:number_placeholders', { num_placeholders: 1 }, 'dear [name]', 'dear name'],
    ['startend:quotation', {}, '"all of it"', 'all of it'],
    ['startend:end_checker', { end_phrase: 'The End' }, 'so: the end', 'the end so'],
  ])('%s %j accepts %j and not %j', (...[id, args, good, bad]) => {
    expect(check(id, args, good)).toBe(true);
    expect(check(id, args, bad)).toBe(false);
  });

  it('is loose without a first line, a last line and asterisks, when asked', () => {
    const answer = 'Sure, here it is:\n**none here**';
    const instructions = [{ id: 'punctuation:no_comma', args: JsonFields.of({}, 'args') }];
    expect(followsAll(answer, instructions, false)).toBe(false);
    expect(followsAll(answer, instructions, true)).toBe(true);
  });
});

describe('a verdict', () => {
  it.each([
    ['It agrees.\nVERDICT: CORRECT', true],
    ['VERDICT: CORRECT? No.\nVERDICT: **INCORRECT**', false],
    ['I cannot say', undefined],
    ['CORRECT', undefined],
  ])('in %j is %s', (text, verdict) => {
    expect(readVerdict(text)).toBe(verdict);
  });
});
