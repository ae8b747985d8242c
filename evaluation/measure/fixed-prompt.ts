import { Failure } from '../../core/errors.ts';
import type { ChatPrompts } from '../chat-prompts.ts';

/** Messages whose prompts, template included, have exactly `tokens` tokens. */
export class FixedPrompts {
  readonly #lengthOf: (text: string) => number;
  readonly #tokens: number;
  /** What made the last one long enough: it does for the next one too, as a rule. */
  #filling = '';

  constructor(prompts: ChatPrompts, tokens: number) {
    this.#lengthOf = (text) => prompts.encode([{ role: 'user', content: text }], 'low').length;
    this.#tokens = tokens;
  }

  /** `salt` makes it another from its first word on, so that no prefix cache helps. */
  next(salt: string): string {
    const known = salt + this.#filling;
    const text = this.#filling !== '' && this.#lengthOf(known) === this.#tokens ? known : this.#search(salt);
    this.#filling = text.slice(salt.length);
    return text;
  }

  #search(salt: string): string {
    let text = salt;
    let length = this.#lengthOf(text);
    if (length > this.#tokens)
      throw new Failure(
        'BAD_INPUT',
        `input_tokens: ${this.#tokens} is less than an empty prompt’s ${length}`,
      );
    while (length < this.#tokens) {
      const longer = text + ' 1'.repeat(Math.max(1, Math.floor((this.#tokens - length) / 2)));
      text = this.#lengthOf(longer) <= this.#tokens ? longer : `${text}1`;
      length = this.#lengthOf(text);
    }
    if (length !== this.#tokens)
      throw new Failure('BAD_INPUT', `no prompt of exactly ${this.#tokens} tokens was found`);
    return text;
  }
}
