/**
 * The package's own declarations import without file extensions, which `nodenext` cannot resolve. This is the part
 * that is used here; test/evaluation/chat-prompts.test.ts holds it to what the package does.
 */
declare module '@huggingface/tokenizers' {
  export class Tokenizer {
    constructor(tokenizer: object, config: object);
    encode(text: string, options?: { add_special_tokens?: boolean }): { ids: number[] };
    decode(
      tokenIds: number[],
      options?: { skip_special_tokens?: boolean; clean_up_tokenization_spaces?: boolean },
    ): string;
    token_to_id(token: string): number | undefined;
  }
}
