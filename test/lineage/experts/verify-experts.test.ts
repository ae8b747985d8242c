import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StoredTensors } from '../../../lineage/experts/stored-tensors.ts';
import { verifyExperts } from '../../../lineage/experts/verify-experts.ts';

type Tensor = readonly Uint8Array[];

const rowShapes: Readonly<Record<string, readonly [string, number[]]>> = {
  'experts.gate_up_proj_blocks': ['U8', [4, 1, 16]],
  'experts.gate_up_proj_scales': ['U8', [4, 1]],
  'experts.gate_up_proj_bias': ['BF16', [4]],
  'experts.down_proj_blocks': ['U8', [2, 1, 16]],
  'experts.down_proj_scales': ['U8', [2, 1]],
  'experts.down_proj_bias': ['BF16', [2]],
  'router.weight': ['BF16', [32]],
  'router.bias': ['BF16', []],
};
const layers = 2;
const experts = 5;
const kept = [
  [0, 2, 3],
  [1, 4],
];

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fretsaw-experts-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

/** Every byte of every row differs from that of other experts, layers and tensors. */
function parent(): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  let state = 1;
  for (let layer = 0; layer < layers; layer++) {
    for (const [part, [dtype, shape]] of Object.entries(rowShapes)) {
      const width = shape.reduce((a, b) => a * b, 1) * (dtype === 'U8' ? 1 : 2);
      tensors.set(
        `model.layers.${layer}.mlp.${part}`,
        Array.from({ length: experts }, () =>
          Uint8Array.from({ length: width }, () => (state = (state * 16807) % 2147483647) & 255),
        ),
      );
    }
  }
  return tensors;
}

function childOf(tensors: ReadonlyMap<string, Tensor>, rows = kept): Map<string, Tensor> {
  return new Map(
    [...tensors].map(([name, all]) => {
      const layer = Number(name.split('.')[2]);
      return [name, (rows[layer] ?? []).map((row) => Uint8Array.from(all[row] ?? []))];
    }),
  );
}

/** A checkpoint of one file a layer. */
function write(name: string, tensors: ReadonlyMap<string, Tensor>): string {
  const folder = mkdtempSync(join(root, name));
  for (let layer = 0; layer < layers; layer++) {
    const own = [...tensors].filter(([tensor]) => tensor.startsWith(`model.layers.${layer}.`));
    const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
    let at = 0;
    for (const [tensor, rows] of own) {
      const [dtype, shape] = rowShapes[tensor.split('.').slice(4).join('.')] ?? ['U8', []];
      const size = rows.reduce((sum, row) => sum + row.length, 0);
      header[tensor] = { dtype, shape: [rows.length, ...shape], data_offsets: [at, at + size] };
      at += size;
    }
    const text = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(
      join(folder, `model-${layer}.safetensors`),
      Buffer.concat([length, text, ...own.flatMap(([, rows]) => rows)]),
    );
  }
  return folder;
}

async function verify(child: string, from: string, map?: number[][]): Promise<number[][]> {
  const pair = { child: await StoredTensors.open(child), parent: await StoredTensors.open(from) };
  try {
    return await verifyExperts(pair, map);
  } finally {
    await pair.child.close();
    await pair.parent.close();
  }
}

describe('the proof that experts are the parent’s', () => {
  it('finds the kept-expert map in the files, and holds a map that is given', async () => {
    const tensors = parent();
    const [child, from] = [write('child', childOf(tensors)), write('parent', tensors)];
    expect(await verify(child, from)).toEqual(kept);
    expect(await verify(child, from, kept)).toEqual(kept);
  });

  it.each(Object.keys(rowShapes))('names layer, expert and tensor of one changed bit in %s', async (part) => {
    const tensors = parent();
    const changed = childOf(tensors);
    const row = changed.get(`model.layers.1.mlp.${part}`)?.[1];
    if (row === undefined) throw new Error('bug: no row');
    row[0] = (row[0] ?? 0) ^ 1;
    const [child, from] = [write('child', changed), write('parent', tensors)];
    for (const map of [undefined, kept]) {
      const verdict = verify(child, from, map);
      await expect(verdict).rejects.toMatchObject({ code: 'FROZEN_MOVED', details: { layer: 1, expert: 1 } });
      await expect(verdict).rejects.toThrow(`its ${part} is not that of the parent's expert 4`);
    }
  });

  it('notices experts that were swapped, a wrong map, and an expert that is nobody’s', async () => {
    const tensors = parent();
    const from = write('parent', tensors);
    const swapped = write('swapped', childOf(tensors, [[2, 0, 3], kept[1] ?? []]));
    await expect(verify(swapped, from)).rejects.toThrow(
      "layer 0, expert 1 of the child: the parent's expert 0",
    );
    const child = write('child', childOf(tensors));
    await expect(verify(child, from, [[0, 2, 4], kept[1] ?? []])).rejects.toThrow('layer 0, expert 2');
    await expect(verify(child, from, [[0, 2], kept[1] ?? []])).rejects.toThrow('the map keeps 2 experts');
    const foreign = childOf(tensors);
    for (const [name, rows] of foreign) if (name.includes('.0.')) rows[0]?.fill(7);
    await expect(verify(write('foreign', foreign), from)).rejects.toThrow('no expert of the parent has any');
  });

  it('calls a file that is cut short, or that is something else, BAD_INPUT', async () => {
    const tensors = parent();
    const from = write('parent', tensors);
    const child = write('child', childOf(tensors));
    const file = join(child, 'model-1.safetensors');
    const size = readFileSync(file).length;
    truncateSync(file, size - 1);
    await expect(verify(child, from)).rejects.toMatchObject({ code: 'BAD_INPUT' });
    writeFileSync(file, 'not a checkpoint at all');
    await expect(verify(child, from)).rejects.toMatchObject({ code: 'BAD_INPUT' });
    await expect(verify(mkdtempSync(join(root, 'empty')), from)).rejects.toThrow('holds no .safetensors');
  });
});
