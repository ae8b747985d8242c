/**
 * Numbers and simple expressions as answers write them: fractions, percent, units, LaTeX, lists. Two answers are equal when
 * their normal forms are, or when both are numbers that are equal exactly as fractions, or within a relative 1e-9 where a
 * root or pi is in them. A unit may be left out, but not be another one.
 */
export function mathAnswer(final: string): string {
  const boxed = lastBoxed(final);
  if (boxed !== undefined) return boxed;
  const said = [...final.matchAll(/answer\s*(?:is|:|=)\s*([^\n]+)/gi)].at(-1)?.[1];
  const line = said ?? final.trimEnd().split('\n').at(-1) ?? '';
  return withoutEnd(line.trim());
}

/** Without dots and white space at its end; no pattern, which would look at every run of dots anew. */
function withoutEnd(text: string): string {
  let end = text.length;
  while (end > 0 && /[.\s]/.test(text[end - 1] ?? '')) end--;
  return text.slice(0, end);
}

/** Nothing that long is a number; it is compared as it stands. */
const longestAnswer = 1000;

export function equalMath(expected: string, found: string): boolean {
  if (Math.max(expected.length, found.length) > longestAnswer) return expected.trim() === found.trim();
  const [{ text: a, unit: own }, { text: b, unit: other }] = [normalise(expected), normalise(found)];
  if (own !== undefined && other !== undefined && own !== other) return false;
  if (a === b) return a !== '';
  const [left, right] = [splitList(a), splitList(b)];
  if (left.length > 1 || right.length > 1)
    return left.length === right.length && left.every((part, index) => equalOne(part, right[index] ?? ''));
  return equalOne(a, b);
}

function equalOne(a: string, b: string): boolean {
  if (a === b) return a !== '';
  const [x, y] = [evaluate(a), evaluate(b)];
  if (x === undefined || y === undefined) return false;
  if (x.fraction !== undefined && y.fraction !== undefined)
    return x.fraction[0] * y.fraction[1] === y.fraction[0] * x.fraction[1];
  return Math.abs(x.value - y.value) <= 1e-9 * Math.max(Math.abs(x.value), Math.abs(y.value), 1e-300);
}

/** The content of the last \boxed{}, braces balanced. */
function lastBoxed(text: string): string | undefined {
  const start = text.lastIndexOf('\\boxed{');
  if (start < 0) return undefined;
  let depth = 0;
  for (let at = start + 6; at < text.length; at++) {
    if (text[at] === '{') depth++;
    if (text[at] === '}' && --depth === 0) return text.slice(start + 7, at);
  }
  return undefined;
}

/** Each with the words for it. */
const units: Readonly<Record<string, readonly string[]>> = {
  degree: ['degrees', 'degree', 'deg'],
  dollar: ['dollars', 'dollar', 'usd'],
  euro: ['euros', 'euro'],
  cent: ['cents', 'cent'],
  kg: ['kilograms', 'kilogram', 'kg'],
  km: ['kilometers', 'kilometres', 'kilometer', 'kilometre', 'km'],
  cm: ['centimeters', 'centimetres', 'centimeter', 'centimetre', 'cm'],
  mm: ['millimeters', 'millimetres', 'millimeter', 'millimetre', 'mm'],
  m: ['meters', 'metres', 'meter', 'metre', 'm'],
  g: ['grams', 'gram', 'g'],
  s: ['seconds', 'second', 'sec', 's'],
  minute: ['minutes', 'minute', 'min'],
  hour: ['hours', 'hour', 'h'],
  mile: ['miles', 'mile'],
  foot: ['feet', 'foot', 'ft'],
  inch: ['inches', 'inch'],
  unit: ['units', 'unit'],
  point: ['points', 'point'],
  year: ['years', 'year'],
  day: ['days', 'day'],
};
const unitOf = new Map(Object.entries(units).flatMap(([unit, names]) => names.map((name) => [name, unit])));
const unitAtEnd = new RegExp(`(?<=[0-9)}])(${[...unitOf.keys()].join('|')})(\\^?[23])?$`);

interface Normal {
  text: string;
  unit: string | undefined;
}

function normalise(raw: string): Normal {
  let text = raw.trim().replace(/^\$+|\$+$/g, '');
  text = text
    .replace(/\\(?:left|right|displaystyle|,|;|!|:|quad|qquad)/g, '')
    .replace(/\\(?:text|mathrm|mbox|textbf|mathbf)\{([^{}]*)\}/g, '$1')
    .replace(/\\[dt]frac/g, '\\frac')
    .replace(/\\frac(\d)(\d)/g, '\\frac{$1}{$2}')
    .replace(/\\(?:cdot|times)/g, '*')
    .replace(/\\div/g, '/')
    .replace(/\^\{?\\circ\}?|°/g, '')
    .replace(/\\%/g, '%')
    .replace(/\\pi|π/g, 'pi')
    .replace(/\u2212/g, '-')
    .replace(/[$€]|\\\$/g, '')
    .replace(/(\d)[,\s](?=\d{3}(?!\d))/g, '$1')
    .toLowerCase();
  text = fractions(text)
    .replace(/√(\d+|\([^()]*\))/g, 'sqrt($1)')
    .replace(/\\/g, '')
    .replace(/^[a-z]\s*=\s*/, '')
    .replace(/\s+/g, '')
    .replace(/\{([^{}]*)\}/g, '($1)');
  const found = unitAtEnd.exec(text);
  if (found === null) return { text: text.replace(/[.]$/, ''), unit: undefined };
  const [all, name = '', power = ''] = found;
  return { text: text.slice(0, -all.length), unit: `${unitOf.get(name) ?? name}${power.replace('^', '')}` };
}

/** \frac{a}{b} and \sqrt{a}, inside out. */
function fractions(text: string): string {
  let now = text;
  for (;;) {
    const next = now
      .replace(/\\sqrt\{([^{}]*)\}/, 'sqrt($1)')
      .replace(/\\frac\{([^{}]*)\}\{([^{}]*)\}/, '(($1)/($2))');
    if (next === now) return now;
    now = next;
  }
}

/** Parts at commas outside brackets; one pair of brackets round all is dropped. */
function splitList(text: string): string[] {
  const inner = /^[([{]([^()[\]{}]*,[^()[\]{}]*)[)\]}]$/.exec(text)?.[1] ?? text;
  const parts = [''];
  let depth = 0;
  for (const character of inner) {
    if ('([{'.includes(character)) depth++;
    if (')]}'.includes(character)) depth--;
    if (character === ',' && depth === 0) parts.push('');
    else parts.push((parts.pop() ?? '') + character);
  }
  return parts;
}

interface Value {
  value: number;
  /** Exact where only +, -, *, / of decimals are in it. */
  fraction: [bigint, bigint] | undefined;
}

const longest = 200;

/** A recursive descent over + - * / ^ % sqrt pi and brackets; undefined where anything else stands. */
function evaluate(text: string): Value | undefined {
  if (text === '' || text.length > longest) return undefined;
  const tokens = text.match(/\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|sqrt|pi|[-+*/^%()]/g);
  if (tokens?.join('') !== text) return undefined;
  const reader = new ExpressionReader(tokens);
  const value = reader.sum();
  return reader.isDone && value !== undefined && Number.isFinite(value.value) ? value : undefined;
}

class ExpressionReader {
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(tokens: readonly string[]) {
    this.#tokens = tokens;
  }

  get isDone(): boolean {
    return this.#at === this.#tokens.length;
  }

  sum(): Value | undefined {
    let left = this.#product();
    while (left !== undefined && (this.#is('+') || this.#is('-'))) {
      const isPlus = this.#next() === '+';
      const right = this.#product();
      left = right && add(left, isPlus ? right : negate(right));
    }
    return left;
  }

  #product(): Value | undefined {
    let left = this.#sign();
    while (left !== undefined && !this.isDone && !/^[-+)%^]$/.test(this.#peek())) {
      // 2pi and 3sqrt(2) multiply without a sign; two numbers side by side do not.
      const operator = this.#is('*') || this.#is('/') ? this.#next() : 'beside';
      if (operator === 'beside' && /^[\d.]/.test(this.#peek())) return undefined;
      const right = this.#sign();
      left = right && (operator === '/' ? divide(left, right) : multiply(left, right));
    }
    return left;
  }

  #sign(): Value | undefined {
    if (!this.#is('-') && !this.#is('+')) return this.#power();
    const isMinus = this.#next() === '-';
    const value = this.#sign();
    return value && isMinus ? negate(value) : value;
  }

  #power(): Value | undefined {
    let base = this.#atom();
    if (this.#is('%')) {
      this.#next();
      base = base && divide(base, whole(100n));
    }
    if (!this.#is('^')) return base;
    this.#next();
    const exponent = this.#sign();
    if (base === undefined || exponent === undefined) return undefined;
    return { value: base.value ** exponent.value, fraction: undefined };
  }

  #atom(): Value | undefined {
    const token = this.#next();
    if (token === 'pi') return { value: Math.PI, fraction: undefined };
    if (token === 'sqrt') {
      const inner = this.#atom();
      return inner && { value: Math.sqrt(inner.value), fraction: undefined };
    }
    if (token === '(') {
      const inner = this.sum();
      return this.#next() === ')' ? inner : undefined;
    }
    return /^[\d.]/.test(token) ? decimal(token) : undefined;
  }

  #peek(): string {
    return this.#tokens[this.#at] ?? '';
  }

  #is(token: string): boolean {
    return this.#peek() === token;
  }

  #next(): string {
    return this.#tokens[this.#at++] ?? '';
  }
}

function decimal(token: string): Value {
  const value = Number(token);
  if (token.includes('e')) return { value, fraction: undefined };
  const [head = '', tail = ''] = token.split('.');
  return { value, fraction: [BigInt(head + tail || '0'), 10n ** BigInt(tail.length)] };
}

function whole(value: bigint): Value {
  return { value: Number(value), fraction: [value, 1n] };
}

function negate({ value, fraction }: Value): Value {
  return { value: -value, fraction: fraction && [-fraction[0], fraction[1]] };
}

function add(a: Value, b: Value): Value {
  const fraction = both(a, b, ([p, q], [r, s]) => [p * s + r * q, q * s]);
  return { value: a.value + b.value, fraction };
}

function multiply(a: Value, b: Value): Value {
  return { value: a.value * b.value, fraction: both(a, b, ([p, q], [r, s]) => [p * r, q * s]) };
}

function divide(a: Value, b: Value): Value | undefined {
  if (b.value === 0) return undefined;
  const fraction = both(a, b, ([p, q], [r, s]) => (r < 0n ? [-p * s, q * -r] : [p * s, q * r]));
  return { value: a.value / b.value, fraction };
}

type Fraction = [bigint, bigint];

function both(a: Value, b: Value, make: (a: Fraction, b: Fraction) => Fraction): Fraction | undefined {
  return a.fraction === undefined || b.fraction === undefined ? undefined : make(a.fraction, b.fraction);
}
