import { cp, mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Decoding, ModelAnswer } from '../../../evaluation/model-runner.ts';
import { OnnxRunner } from '../../../evaluation/onnx/onnx-runner.ts';
import { nanoOnnx, readGoldenAnswers } from '../golden.ts';

const golden = readGoldenAnswers();
const cap = 40;
const requests = golden.map(({ id, messages, effort }) => ({
  id: `${id} ${effort}`,
  messages,
  effort,
  maxNewTokens: cap,
}));

interface Run {
  batchSize: number;
  decoding?: Decoding;
  stopAfter?: number;
}

async function answer({
  batchSize,
  decoding = { kind: 'greedy' },
  stopAfter = Infinity,
}: Run): Promise<Map<string, ModelAnswer>> {
  const runner = await OnnxRunner.open(nanoOnnx, { threads: 1, batchSize });
  const answers = new Map<string, ModelAnswer>();
  let tokens = 0;
  await runner.generate(requests, {
    decoding,
    onAnswer: (each) => answers.set(each.id, each),
    onTokens: (count) => {
      tokens += count;
    },
    shouldStop: () => answers.size >= stopAfter,
  });
  await runner.close();
  if (stopAfter === Infinity)
    expect(tokens).toBe([...answers.values()].reduce((sum, each) => sum + each.tokens, 0));
  return answers;
}

describe('an exported model', () => {
  it.each([1, 5, 64])("answers greedily, %i at once, as transformers' generate does", async (batchSize) => {
    const answers = await answer({ batchSize });
    expect(answers.size).toBe(golden.length);
    for (const { id, effort, tokenIds } of golden) {
      const found = answers.get(`${id} ${effort}`);
      expect(found?.tokenIds).toEqual(tokenIds);
      const endsInReturnOrCall = [6, 7].includes(tokenIds.at(-1) ?? -1);
      expect(found?.isCapped).toBe(!endsInReturnOrCall);
    }
  });

  it('samples the same answers from a seed, whatever the batch', async () => {
    const decoding: Decoding = { kind: 'sampled', temperature: 1, seed: 4 };
    const ids = (answers: Map<string, ModelAnswer>): unknown =>
      requests.map(({ id }) => answers.get(id)?.tokenIds);
    const first = await answer({ batchSize: 3, decoding });
    expect(ids(await answer({ batchSize: 16, decoding }))).toEqual(ids(first));
    expect(ids(await answer({ batchSize: 3, decoding: { ...decoding, seed: 5 } }))).not.toEqual(ids(first));
  });

  it('writes on past the end when asked, the same tokens up to there, and all of the cap', async () => {
    const runner = await OnnxRunner.open(nanoOnnx, { threads: 1, batchSize: 5 });
    const answers = new Map<string, ModelAnswer>();
    await runner.generate(
      requests.map((request) => ({ ...request, ignoresEnd: true })),
      {
        decoding: { kind: 'greedy' },
        onAnswer: (each) => answers.set(each.id, each),
        onTokens: () => undefined,
        shouldStop: () => false,
      },
    );
    await runner.close();
    const ended = golden.filter(({ tokenIds }) => tokenIds.length < cap);
    expect(ended.length).toBeGreaterThan(0);
    for (const { id, effort, tokenIds } of golden) {
      const found = answers.get(`${id} ${effort}`);
      expect(found?.tokenIds?.slice(0, tokenIds.length)).toEqual(tokenIds);
      expect(found).toMatchObject({ tokens: cap, isCapped: true });
    }
  });

  it('stops between two tokens when asked', async () => {
    const answers = await answer({ batchSize: 4, stopAfter: 2 });
    expect(answers.size).toBeGreaterThanOrEqual(2);
    expect(answers.size).toBeLessThan(golden.length);
  });

  it('is refused when its file is cut off', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fretsaw-onnx-'));
    await cp(nanoOnnx, folder, { recursive: true });
    await truncate(join(folder, 'model.onnx'), 100_000);
    await expect(OnnxRunner.open(folder, { threads: 1, batchSize: 1 })).rejects.toMatchObject({
      code: 'BAD_INPUT',
    });
    await rm(folder, { recursive: true });
  });
});
