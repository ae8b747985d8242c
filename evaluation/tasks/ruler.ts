import { createHash } from 'node:crypto';
import type { Question } from './adapters.ts';

export const rulerKinds = ['needle', 'multi-key', 'variable-tracking', 'counting'] as const;
export type RulerKind = (typeof rulerKinds)[number];

export interface RulerSettings {
  kinds: readonly RulerKind[];
  /** Lengths of the whole prompt, in tokens. */
  lengths: readonly number[];
  /** Questions of each kind at each length. */
  examples: number;
  seed: number;
  /** How many tokens a text has. */
  countTokens: (text: string) => number;
}

export interface RulerQuestion extends Question {
  kind: RulerKind;
  length: number;
}

/**
 * Questions in the manner of RULER (arXiv 2404.06654, section 3): a needle, one needle among many like it, chains of assignments,
 * the most frequent words. Each prompt is as long as its length allows by the tokenizer's count.
 */
export function generateRuler(settings: RulerSettings): RulerQuestion[] {
  const { kinds, lengths, examples, seed } = settings;
  return kinds.flatMap((kind) =>
    lengths.flatMap((length) =>
      Array.from({ length: examples }, (_, index) => {
        const id = `${kind}-${length}-${index}`;
        const make = makers[kind](new Random(`${seed}\n${id}`));
        const units = mostThatFit(length, (count) => settings.countTokens(make(count).prompt));
        const { prompt, references } = make(units);
        return {
          id,
          kind,
          length,
          prompt,
          answer: references.join(', '),
          scorer: { kind: 'recall', references, part: 'all' },
        };
      }),
    ),
  );
}

interface Made {
  prompt: string;
  references: string[];
}

/** Gives the question with so many units of filler; what is asked does not depend on how many. */
type Maker = (random: Random) => (units: number) => Made;

const filler = [
  'The grass is green.',
  'The sky is blue.',
  'The sun is yellow.',
  'Here we go.',
  'There and back again.',
];

const makers: Readonly<Record<RulerKind, Maker>> = {
  needle: (random) => {
    const [key, value, depth] = [random.word(), random.digits(7), random.next()];
    return (units) => ({
      prompt: retrieval(placed(fillerOf(units), [{ text: needleOf(key, value), depth }]), key),
      references: [value],
    });
  },
  'multi-key': (random) => {
    const [key, value, depth] = [random.word(), random.digits(7), random.next()];
    const others = random.fork('others');
    const distractors: string[] = [];
    return (units) => {
      while (distractors.length < units)
        distractors.push(needleOf(`${others.word()}-${others.word()}`, others.digits(7)));
      return {
        prompt: retrieval(placed(distractors.slice(0, units), [{ text: needleOf(key, value), depth }]), key),
        references: [value],
      };
    };
  },
  'variable-tracking': (random) => {
    const value = random.digits(5);
    const names = random.names(5);
    const assignments = names.map((name, at) =>
      at === 0 ? `VAR ${name} = ${value}` : `VAR ${name} = VAR ${names[at - 1] ?? ''}`,
    );
    const depths = names.map(() => random.next()).sort((a, b) => a - b);
    return (units) => {
      const text = placed(
        fillerOf(units),
        assignments.map((assignment, at) => ({ text: `${assignment}.`, depth: depths[at] ?? 0 })),
      );
      const question = `Find all variables that are assigned the value ${value} in the text above, directly or through other variables. Answer with their names only.`;
      return {
        prompt: `Memorise the assignments hidden in the text.\n\n${text}\n\n${question}`,
        references: names,
      };
    };
  },
  counting: (random) => {
    const common = random.distinctWords(3);
    const rare = random.fork('rare');
    const order = random.fork('order');
    const drawn: string[] = [];
    return (units) => {
      while (drawn.length < units) drawn.push(rare.word());
      // Each common word stands there once for every ten others, and at least four times: no other comes near.
      const times = Math.max(4, Math.ceil(units / 10));
      const words = [
        ...drawn.slice(0, units).filter((word) => !common.includes(word)),
        ...common.flatMap((word) => Array<string>(times).fill(word)),
      ];
      const shuffled = new Random(`${order.seed}\n${units}`).shuffle(words);
      return {
        prompt: `Below is a numbered list of words.\n${shuffled.map((word, at) => `${at + 1}. ${word}`).join(' ')}\n\nWhich ${common.length} words stand there most often? Answer with the words only.`,
        references: common,
      };
    };
  },
};

function needleOf(key: string, value: string): string {
  return `One of the special magic numbers for ${key} is: ${value}.`;
}

function retrieval(text: string, key: string): string {
  return `A special magic number is hidden within the following text. Memorise it.\n\n${text}\n\nWhat is the special magic number for ${key} mentioned in the text?`;
}

function fillerOf(units: number): string[] {
  return Array.from({ length: units }, (_, at) => filler[at % filler.length] ?? '');
}

/** Puts each text at its relative depth, in the order given. */
function placed(lines: readonly string[], texts: readonly { text: string; depth: number }[]): string {
  const result = [...lines];
  for (const [added, { text, depth }] of texts.entries())
    result.splice(Math.floor(depth * lines.length) + added, 0, text);
  return result.join(' ');
}

const firstProbe = 32;
const mostGuesses = 12;

/**
 * The most units of filler whose prompt has at most `limit` tokens. Tokens grow nearly in proportion, so a few guesses find
 * it: counting those of a long prompt is what costs. Bisection ends what guesses do not.
 */
function mostThatFit(limit: number, tokensOf: (units: number) => number): number {
  let low = { units: 0, tokens: tokensOf(0) };
  let high: typeof low | undefined;
  let probe = firstProbe;
  for (let guesses = 0; high === undefined || high.units - low.units > 1; guesses++) {
    const tried = { units: probe, tokens: tokensOf(probe) };
    if (tried.tokens <= limit) low = tried;
    else high = tried;
    const middle: number = high === undefined ? low.units * 2 : Math.floor((low.units + high.units) / 2);
    const guess = guesses < mostGuesses ? guessFrom(low, high ?? tried, limit) : undefined;
    probe = Math.max(low.units + 1, Math.min(guess ?? middle, (high?.units ?? Infinity) - 1));
  }
  return low.units;
}

interface Counted {
  units: number;
  tokens: number;
}

/** On the line through both; while nothing was too long, through the origin. */
function guessFrom(low: Counted, high: Counted, limit: number): number | undefined {
  const tokens =
    low.units === high.units ? low.tokens / low.units : (high.tokens - low.tokens) / (high.units - low.units);
  const guess = low.units + Math.floor((limit - low.tokens) / tokens);
  return Number.isFinite(guess) ? guess : undefined;
}

const syllables = [
  'ba',
  'ce',
  'di',
  'fo',
  'gu',
  'ha',
  'ke',
  'li',
  'mo',
  'nu',
  'pa',
  're',
  'si',
  'to',
  'vu',
  'za',
];

/** Numbers from a hashed counter: equal seeds give equal questions on every machine. */
class Random {
  readonly seed: string;
  #count = 0;

  constructor(seed: string) {
    this.seed = seed;
  }

  fork(name: string): Random {
    return new Random(`${this.seed}\n${name}`);
  }

  /** In [0, 1). */
  next(): number {
    const hash = createHash('sha256').update(`${this.seed}\n${this.#count++}`).digest();
    return hash.readUIntBE(0, 6) / 2 ** 48;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  word(): string {
    return Array.from({ length: 4 }, () => syllables[this.below(syllables.length)] ?? '').join('');
  }

  distinctWords(count: number): string[] {
    const words = new Set<string>();
    while (words.size < count) words.add(this.word());
    return [...words];
  }

  /** Five capital letters each. */
  names(count: number): string[] {
    const names = new Set<string>();
    while (names.size < count)
      names.add(Array.from({ length: 5 }, () => String.fromCharCode(65 + this.below(26))).join(''));
    return [...names];
  }

  digits(count: number): string {
    return (
      String(1 + this.below(9)) + Array.from({ length: count - 1 }, () => String(this.below(10))).join('')
    );
  }

  shuffle<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let at = result.length - 1; at > 0; at--) {
      const other = this.below(at + 1);
      [result[at], result[other]] = [result[other] as T, result[at] as T];
    }
    return result;
  }
}
