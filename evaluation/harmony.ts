/**
 * Harmony completions, read from token ids: `<|channel|>name<|message|>content<|end|>` for every message, the
 * last ended by `<|return|>`. A completion begins after `<|start|>assistant`.
 *
 * @see https://github.com/openai/harmony/blob/main/docs/format.md
 */
export interface HarmonyIds {
  start: number;
  channel: number;
  message: number;
  end: number;
  return: number;
  call: number;
}

const names: Readonly<Record<keyof HarmonyIds, string>> = {
  start: '<|start|>',
  channel: '<|channel|>',
  message: '<|message|>',
  end: '<|end|>',
  return: '<|return|>',
  call: '<|call|>',
};

/** Undefined when the vocabulary lacks one of the tokens: such a model does not speak Harmony. */
export function findHarmonyIds(tokenToId: (token: string) => number | undefined): HarmonyIds | undefined {
  const ids = { start: -1, channel: -1, message: -1, end: -1, return: -1, call: -1 };
  for (const key of ['start', 'channel', 'message', 'end', 'return', 'call'] as const) {
    const id = tokenToId(names[key]);
    if (id === undefined) return undefined;
    ids[key] = id;
  }
  return ids;
}

/** What a model wrote. `final` is null unless a final channel was opened and ended by `<|return|>`. */
export interface Completion {
  analysis: string | null;
  final: string | null;
}

interface Message {
  channel: string;
  content: string;
  isReturned: boolean;
}

/** Takes a completion apart. Of several messages in one channel the last counts, as a client would show it. */
export function parseCompletion(
  tokenIds: readonly number[],
  ids: HarmonyIds,
  decode: (tokenIds: number[]) => string,
): Completion {
  const completion: Completion = { analysis: null, final: null };
  for (const { channel, content, isReturned } of readMessages(tokenIds, ids, decode)) {
    if (channel === 'analysis') completion.analysis = content;
    if (channel === 'final') completion.final = isReturned ? content : null;
  }
  return completion;
}

function readMessages(
  tokenIds: readonly number[],
  ids: HarmonyIds,
  decode: (tokenIds: number[]) => string,
): Message[] {
  const messages: Message[] = [];
  for (const part of splitAt(tokenIds, ids)) {
    const opened = part.ids.indexOf(ids.message);
    const channel = part.ids.indexOf(ids.channel);
    if (opened < 0 || channel < 0 || channel > opened) continue;
    messages.push({
      channel: decode(part.ids.slice(channel + 1, opened)).trim(),
      content: decode(part.ids.slice(opened + 1)).trim(),
      isReturned: part.endedBy === ids.return,
    });
  }
  return messages;
}

interface Part {
  ids: number[];
  /** The token that closed it; undefined when the completion simply stopped. */
  endedBy: number | undefined;
}

/** Cuts at `<|end|>`, `<|return|>`, `<|call|>`, and at `<|start|>` where a message was left open. */
function splitAt(tokenIds: readonly number[], ids: HarmonyIds): Part[] {
  const closing = new Set([ids.end, ids.return, ids.call, ids.start]);
  const parts: Part[] = [];
  let open: number[] = [];
  for (const id of tokenIds) {
    if (!closing.has(id)) {
      open.push(id);
      continue;
    }
    parts.push({ ids: open, endedBy: id });
    open = [];
    if (id === ids.return) return parts;
  }
  parts.push({ ids: open, endedBy: undefined });
  return parts;
}
