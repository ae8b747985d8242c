import type { HarmonyIds } from '../harmony.ts';

/** A piece of an answer as a client sees it. */
export interface ChannelDelta {
  channel: string;
  text: string;
}

/**
 * Takes the tokens of a completion one by one and gives the text of its channels as it becomes known: a
 * character of several tokens is given once it is whole.
 */
export class HarmonyStream {
  readonly #ids: HarmonyIds;
  readonly #decode: (tokenIds: number[]) => string;
  #channelIds: number[] | undefined;
  #channel: string | undefined;
  #bodyIds: number[] = [];
  #given = 0;

  constructor(ids: HarmonyIds, decode: (tokenIds: number[]) => string) {
    this.#ids = ids;
    this.#decode = decode;
  }

  /** Undefined for a token that adds no text: a marker, a channel's name, half of a character. */
  add(id: number): ChannelDelta | undefined {
    const { channel, message, end, start } = this.#ids;
    if (id === end || id === start || id === this.#ids.return || id === this.#ids.call) {
      this.#close();
      return undefined;
    }
    if (this.#channel !== undefined) return this.#text(id);
    if (id === channel) this.#channelIds = [];
    else if (id === message && this.#channelIds !== undefined) {
      this.#channel = this.#decode(this.#channelIds).trim();
    } else this.#channelIds?.push(id);
    return undefined;
  }

  #text(id: number): ChannelDelta | undefined {
    this.#bodyIds.push(id);
    const text = this.#decode(this.#bodyIds);
    if (text.endsWith('\ufffd')) return undefined;
    const added = text.slice(this.#given);
    this.#given = text.length;
    return added === '' ? undefined : { channel: this.#channel ?? '', text: added };
  }

  #close(): void {
    this.#channelIds = undefined;
    this.#channel = undefined;
    this.#bodyIds = [];
    this.#given = 0;
  }
}
