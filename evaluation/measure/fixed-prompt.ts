import { Failure } from '../../core/errors.ts';
import type { ChatPrompts } from '../chat-prompts.ts';

/** A message whose prompt, template included, has exactly `tokens` tokens. `salt` makes it another from its first word on, so that no prefix cache helps. */
export function fixedPrompt(prompts: ChatPrompts, tokens: number, salt: string): string {
  const lengthOf = (text: string): number => prompts.encode([{ role: 'user', content: text }], 'low').length;
  let text = salt;
  const least = lengthOf(text);
  if (least > tokens)
    throw new Failure('BAD_INPUT', `input_tokens: ${tokens} is less than an empty prompt’s ${least}`);
  while (lengthOf(text) < tokens) {
    const missing = tokens - lengthOf(text);
    const longer = text + ' 1'.repeat(Math.max(1, Math.floor(missing / 2)));
    text = lengthOf(longer) <= tokens ? longer : `${text}1`;
  }
  if (lengthOf(text) !== tokens)
    throw new Failure('BAD_INPUT', `no prompt of exactly ${tokens} tokens was found`);
  return text;
}
