import { describe, expect, it } from 'vitest';
import type { Invocation } from '../../cli/command.ts';
import { command } from '../../cli/costs.ts';
import { gibibyte } from '../../costs/geometry.ts';
import { trainingMemory } from '../../costs/training.ts';
import { expertChunk } from '../../kinds/compute.ts';
import { parent } from '../costs/published.ts';
import { textTerminal } from '../support/text-terminal.ts';

const root = new URL('../../', import.meta.url).pathname;

async function layout(words: string, json = false): Promise<string> {
  const { terminal, said } = textTerminal();
  const args = ['layout', 'specs/gpt-oss-puzzle-88b.yaml', ...words.split(' ')];
  const invocation: Invocation = { args, json, env: {}, cwd: root, installation: { root }, terminal };
  await command.run(invocation);
  return said();
}

interface Row {
  layout: Record<string, number>;
  work: { memory: Record<string, number> };
  gpuSeconds: { low: number; high: number };
  wallSeconds: { low: number; high: number };
  fits: boolean;
}

describe('layouts of a stage', () => {
  it('are every combination of what is asked about, with what the formulas give for each', async () => {
    const said = await layout('distill --shard 8,64 --context 4,8 --recompute 0,1', true);
    const { layouts } = JSON.parse(said) as { layouts: Row[] };
    expect(layouts.map(({ layout: { shard, context, recompute } }) => [shard, context, recompute])).toEqual([
      [8, 4, 0], [8, 4, 1], [8, 8, 0], [8, 8, 1], [64, 4, 0], [64, 4, 1], [64, 8, 0], [64, 8, 1],
    ]); // prettier-ignore
    for (const { layout: values, work, gpuSeconds, wallSeconds, fits } of layouts) {
      const { shard = 0, context = 0, recompute } = values;
      const memory = trainingMemory(
        parent,
        {
          ...{ gpus: 64, shard, context, expert: 1, microBatch: 1, sequenceTokens: 131_072 },
          ...{ logitChunk: 512, isRecomputed: recompute === 1, expertChunk },
        },
        parent,
      );
      expect(work.memory['total']).toBe(memory.total);
      expect(fits).toBe(memory.total < 0.95 * 85_040_365_568);
      expect(wallSeconds.high * 64).toBeCloseTo(gpuSeconds.high, 3);
    }
    expect(layouts.some(({ fits }) => fits)).toBe(true);
    expect(layouts.some(({ fits }) => !fits)).toBe(true);
  });

  it('are a table with memory by part, hours and a price', async () => {
    const said = await layout('distill --context 2,4 --recompute 0 --price 3');
    expect(said).toMatch(/gpus +context +recompute +weights, GiB .* total, GiB +GPU time +wall time +price/);
    expect(said.match(/more than H100 SXM 80GB has/g)).toHaveLength(2);
  });

  it('of a stage that writes answers are servers: more GPUs for one hold more requests', async () => {
    const { layouts } = JSON.parse(await layout('answers[effort=high] --tensor-parallel 1,8', true)) as {
      layouts: Row[];
    };
    const [one, node] = layouts;
    expect(one?.work.memory['weights']).toBe(8 * (node?.work.memory['weights'] ?? NaN));
    expect((one?.work.memory['weights'] ?? 0) / gibibyte).toBeCloseTo(60.77, 2);
    expect(one?.gpuSeconds.high).toBeGreaterThan(node?.gpuSeconds.high ?? NaN);
  });

  it.each([
    ['distill --context 3', '--context: 3 does not divide 64 GPUs'],
    ['distill --shard 5', '--shard: 5 does not divide 64 GPUs'],
    ['distill --recompute 2', '--recompute: expected whole numbers'],
    ['distill --gpus 0,x', '--gpus: expected whole numbers of at least 1, found 0'],
    ['distil', 'the spec has no stage distil; it has parent, '],
    ['select', 'nothing is known of select on GPUs'],
    ['distill --price=-1', '--price: expected a number'],
  ])('refuses %s', async (words, message) => {
    await expect(layout(words)).rejects.toThrow(message);
  });
});
