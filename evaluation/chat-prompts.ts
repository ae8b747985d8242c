import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { Tokenizer } from '@huggingface/tokenizers';
import { Failure } from '../core/errors.ts';
import { findHarmonyIds, parseCompletion, type Completion, type HarmonyIds } from './harmony.ts';
import { JsonFields } from './json-fields.ts';
import type { ChatMessage } from './task-examples.ts';

/** The model's own tokenizer and chat template, from the files beside it. */
export class ChatPrompts {
  readonly harmony: HarmonyIds;
  readonly #tokenizer: Tokenizer;
  readonly #template: Template;

  private constructor(tokenizer: Tokenizer, template: Template, harmony: HarmonyIds) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.harmony = harmony;
  }

  /** `folder` holds tokenizer.json, tokenizer_config.json and chat_template.jinja. */
  static async open(folder: string): Promise<ChatPrompts> {
    const [document, config, template] = await Promise.all(
      ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'].map((name) =>
        readPart(folder, name),
      ),
    );
    const tokenizer = openTokenizer(folder, document ?? '', config ?? '');
    const harmony = findHarmonyIds((token) => tokenizer.token_to_id(token));
    if (harmony === undefined)
      throw new Failure('BAD_INPUT', `${folder}: the tokenizer has no Harmony tokens`);
    return new ChatPrompts(tokenizer, new Template(template ?? ''), harmony);
  }

  /** The text up to and with `<|start|>assistant`. */
  render(messages: readonly ChatMessage[], effort: string): string {
    return this.#template.render({
      messages: [...messages],
      reasoning_effort: effort,
      add_generation_prompt: true,
    });
  }

  encode(messages: readonly ChatMessage[], effort: string): number[] {
    return this.#tokenizer.encode(this.render(messages, effort), { add_special_tokens: false }).ids;
  }

  /** Special tokens stay in the text: a message that has one inside is not what the scorer asked for. */
  decode(tokenIds: number[]): string {
    if (tokenIds.length === 0) return '';
    return this.#tokenizer.decode(tokenIds, {
      skip_special_tokens: false,
      clean_up_tokenization_spaces: false,
    });
  }

  parse(tokenIds: readonly number[]): Completion {
    return parseCompletion(tokenIds, this.harmony, (ids) => this.decode(ids));
  }
}

function openTokenizer(folder: string, document: string, config: string): Tokenizer {
  const parts = [
    parseObject(document, join(folder, 'tokenizer.json')),
    parseObject(config, join(folder, 'tokenizer_config.json')),
  ] as const;
  try {
    return new Tokenizer(...parts);
  } catch (error) {
    throw new Failure('BAD_INPUT', `${folder}: tokenizer.json: ${String(error)}`, { cause: error });
  }
}

async function readPart(folder: string, name: string): Promise<string> {
  return readFile(join(folder, name), 'utf8').catch((error: unknown) => {
    throw new Failure('BAD_INPUT', `${folder}: no ${name}`, { cause: error });
  });
}

function parseObject(text: string, where: string): object {
  const fields = JsonFields.parse(text, where);
  return Object.fromEntries(fields.names.map((name) => [name, fields.raw(name)]));
}
