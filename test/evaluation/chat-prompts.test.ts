import { mkdtemp, cp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ChatPrompts } from '../../evaluation/chat-prompts.ts';
import { nanoOnnx, readContract, readMessages } from './golden.ts';

const golden = readContract('harmony.golden.json');
const prompts = await ChatPrompts.open(nanoOnnx);

describe('prompts', () => {
  it('are rendered and encoded as transformers does', () => {
    for (const each of golden.records('prompts')) {
      const [messages, effort] = [readMessages(each), each.text('effort')];
      expect(prompts.render(messages, effort)).toBe(each.text('text'));
      expect(prompts.encode(messages, effort)).toEqual(each.integers('token_ids'));
    }
  });

  it('say which file is missing', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fretsaw-prompts-'));
    await cp(nanoOnnx, folder, { recursive: true });
    await rm(join(folder, 'chat_template.jinja'));
    await expect(ChatPrompts.open(folder)).rejects.toThrow('no chat_template.jinja');
    await rm(folder, { recursive: true });
  });

  it('need a tokenizer that has the Harmony tokens', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fretsaw-prompts-'));
    await cp(nanoOnnx, folder, { recursive: true });
    const model = { type: 'WordLevel', vocab: { oak: 0, '?': 1 }, unk_token: '?' };
    const rest = {
      normalizer: null,
      pre_tokenizer: { type: 'WhitespaceSplit' },
      post_processor: null,
      decoder: null,
    };
    const document = { version: '1.0', added_tokens: [], model, ...rest };
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(document));
    await expect(ChatPrompts.open(folder)).rejects.toThrow('no Harmony tokens');
    await writeFile(join(folder, 'tokenizer.json'), '{}');
    await expect(ChatPrompts.open(folder)).rejects.toMatchObject({ code: 'BAD_INPUT' });
    await rm(folder, { recursive: true });
  });
});

describe('completions', () => {
  it.each(golden.records('completions').map((each) => [each.integers('token_ids').join(' '), each] as const))(
    'of ids %s are taken apart as the engine does',
    (_, each) => {
      const { analysis, final } = prompts.parse(each.integers('token_ids'));
      expect({ analysis, final }).toEqual({ analysis: each.raw('analysis'), final: each.raw('final') });
    },
  );

  it('that never end have no final channel', () => {
    const { channel, message } = prompts.harmony;
    const [final] = prompts.encode([{ role: 'user', content: 'final' }], 'low').slice(-4);
    const open = [channel, final ?? -1, message, 40, 41];
    expect(prompts.parse(open).final).toBeNull();
    expect(prompts.parse([...open, prompts.harmony.return]).final).not.toBeNull();
    expect(prompts.parse([...open, prompts.harmony.end]).final).toBeNull();
  });
});
