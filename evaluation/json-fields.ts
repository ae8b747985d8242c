import { Failure } from '../core/errors.ts';

/**
 * One door for outside JSON: every accessor checks what it returns and says where it stood. A wrong
 * document is BAD_INPUT, never a cast.
 */
export class JsonFields {
  readonly #record: ReadonlyMap<string, unknown>;
  readonly #where: string;

  private constructor(record: ReadonlyMap<string, unknown>, where: string) {
    this.#record = record;
    this.#where = where;
  }

  /** `where` is what a person is told: a path, and a line if there are several. */
  static of(value: unknown, where: string): JsonFields {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new Failure('BAD_INPUT', `${where}: expected an object, found ${show(value)}`);
    }
    return new JsonFields(new Map(Object.entries(value)), where);
  }

  static parse(text: string, where: string): JsonFields {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new Failure('BAD_INPUT', `${where}: not JSON`, { cause: error });
    }
    return JsonFields.of(value, where);
  }

  get names(): string[] {
    return [...this.#record.keys()];
  }

  /** So that equal documents are equal as JSON text. */
  toJSON(): object {
    return Object.fromEntries(this.#record);
  }

  has(name: string): boolean {
    return this.#record.has(name) && this.#record.get(name) !== null;
  }

  raw(name: string): unknown {
    return this.#record.get(name);
  }

  text(name: string): string {
    const value = this.#record.get(name);
    return typeof value === 'string' ? value : this.#wrong(name, 'a text');
  }

  /** A safe integer of at least `least`. */
  integer(name: string, least = Number.MIN_SAFE_INTEGER): number {
    const value = this.#record.get(name);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least) return value;
    return this.#wrong(name, least > 0 ? `an integer of at least ${least}` : 'an integer');
  }

  number(name: string): number {
    const value = this.#record.get(name);
    return typeof value === 'number' && Number.isFinite(value) ? value : this.#wrong(name, 'a number');
  }

  boolean(name: string): boolean {
    const value = this.#record.get(name);
    return typeof value === 'boolean' ? value : this.#wrong(name, 'true or false');
  }

  list(name: string): readonly unknown[] {
    const value = this.#record.get(name);
    return Array.isArray(value) ? value : this.#wrong(name, 'a list');
  }

  texts(name: string): string[] {
    const texts = this.list(name).filter((item) => typeof item === 'string');
    return texts.length === this.list(name).length ? texts : this.#wrong(name, 'a list of texts');
  }

  integers(name: string): number[] {
    const numbers = this.list(name).filter((item) => typeof item === 'number' && Number.isSafeInteger(item));
    return numbers.length === this.list(name).length
      ? numbers.map(Number)
      : this.#wrong(name, 'a list of integers');
  }

  record(name: string): JsonFields {
    return JsonFields.of(this.#record.get(name), `${this.#where}: ${name}`);
  }

  /** The members of a list, each an object. */
  records(name: string): JsonFields[] {
    return this.list(name).map((item, index) => JsonFields.of(item, `${this.#where}: ${name}[${index}]`));
  }

  /** Refuses every key that is not in `known`. */
  only(known: readonly string[]): this {
    const unknown = this.names.filter((name) => !known.includes(name));
    if (unknown.length > 0) {
      throw new Failure(
        'BAD_INPUT',
        `${this.#where}: unknown keys ${unknown.join(', ')}; known: ${known.join(', ')}`,
      );
    }
    return this;
  }

  #wrong(name: string, expected: string): never {
    throw new Failure(
      'BAD_INPUT',
      `${this.#where}: ${name}: expected ${expected}, found ${show(this.#record.get(name))}`,
    );
  }
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
