import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GraphShape, LayerPast } from '../../../evaluation/onnx/decoder-graph.ts';
import { KvCache } from '../../../evaluation/onnx/kv-cache.ts';

const shape: GraphShape = { windows: [3, null, 3, 1, 40], kvHeads: 2, headDim: 2, vocabSize: 4 };
const width = shape.windows.length * 2 * shape.kvHeads * shape.headDim;

/** The new keys and values of tokens; every number tells whose it is. */
function newKv(tokens: readonly number[]): Float32Array {
  return Float32Array.from(
    { length: tokens.length * width },
    (_, i) => (tokens[Math.floor(i / width)] ?? 0) * 1000 + (i % width),
  );
}

/** Of one row and head: the stored vectors that count, in any order. */
function stored(
  tensor: LayerPast['key'],
  { row, head, count }: { row: number; head: number; count: number },
): number[][] {
  const [, heads = 0, capacity = 0, dim = 0] = tensor.dims;
  const data = Array.from(tensor.data as Float32Array);
  const start = (row * heads + head) * capacity * dim;
  return Array.from({ length: count }, (_, i) => data.slice(start + i * dim, start + (i + 1) * dim)).sort(
    (a, b) => (a[0] ?? 0) - (b[0] ?? 0),
  );
}

/** What must be there, said plainly: the last window - 1 tokens of a row. */
function expected(
  tokens: readonly number[],
  { layer, part, head }: { layer: number; part: number; head: number },
): number[][] {
  const window = shape.windows[layer] ?? null;
  const kept = window === null ? tokens : tokens.slice(Math.max(0, tokens.length - window + 1));
  const at = ((layer * 2 + part) * shape.kvHeads + head) * shape.headDim;
  return kept.map((token) => [token * 1000 + at, token * 1000 + at + 1]);
}

function check(cache: KvCache, rows: readonly number[][]): void {
  expect(cache.rows).toBe(rows.length);
  const lengths = cache.lengths();
  for (const [layer, past] of cache.pasts().entries()) {
    for (const [row, tokens] of rows.entries()) {
      const count = lengths.get(shape.windows[layer] ?? null)?.[row] ?? -1;
      for (let head = 0; head < shape.kvHeads; head++) {
        expect(stored(past.key, { row, head, count })).toEqual(expected(tokens, { layer, part: 0, head }));
        expect(stored(past.value, { row, head, count })).toEqual(expected(tokens, { layer, part: 1, head }));
      }
    }
  }
}

const action = fc.oneof(
  fc.record({
    kind: fc.constant('add' as const),
    lengths: fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 2 }),
  }),
  fc.record({ kind: fc.constant('append' as const), times: fc.integer({ min: 1, max: 9 }) }),
  fc.record({ kind: fc.constant('remove' as const), row: fc.nat() }),
);

describe('the cache', () => {
  it('holds for every layer the last tokens that its window sees, whatever rows come, grow and go', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 12 }), (actions) => {
        const cache = new KvCache(shape, 4);
        const rows: number[][] = [];
        let token = 1;
        for (const step of actions) {
          if (step.kind === 'add') {
            const longest = Math.max(...step.lengths);
            const prompts = step.lengths
              .slice(0, 4 - rows.length)
              .map((length) => Array.from({ length }, () => token++));
            const padded = prompts.flatMap((prompt) => [
              ...prompt,
              ...Array.from({ length: longest - prompt.length }, () => -1),
            ]);
            for (const [from, prompt] of prompts.entries()) {
              cache.addRow(newKv(padded), { from, length: prompt.length, step: longest });
              rows.push(prompt);
            }
          } else if (step.kind === 'append') {
            for (let i = 0; i < step.times && rows.length > 0; i++) {
              const next = rows.map(() => token++);
              cache.append(newKv(next));
              for (const [row, id] of next.entries()) rows[row]?.push(id);
            }
          } else if (rows.length > 0) {
            const row = step.row % rows.length;
            cache.removeRow(row);
            const last = rows.pop();
            if (last !== undefined && row < rows.length) rows[row] = last;
          }
        }
        check(cache, rows);
      }),
      { numRuns: 60 },
    );
  });

  it('keeps a windowed layer small however long a row grows', () => {
    const cache = new KvCache(shape, 1);
    cache.addRow(newKv(Array.from({ length: 500 }, (_, i) => i)), { from: 0, length: 500, step: 500 });
    expect(cache.pasts().map(({ key }) => key.dims[2])).toEqual([2, 512, 2, 0, 39]);
  });

  it('refuses a row that has no room', () => {
    const cache = new KvCache(shape, 1);
    cache.addRow(newKv([1]), { from: 0, length: 1, step: 1 });
    expect(() => {
      cache.addRow(newKv([1]), { from: 0, length: 1, step: 1 });
    }).toThrow('bug');
  });
});
