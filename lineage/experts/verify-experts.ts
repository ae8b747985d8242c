import { createHash } from 'node:crypto';
import { Failure } from '../../core/errors.ts';
import type { StoredTensor, StoredTensors } from './stored-tensors.ts';

/** Tensors of `model.layers.<n>.mlp.` whose first axis is the expert. */
const parts = [
  'experts.gate_up_proj_blocks',
  'experts.gate_up_proj_scales',
  'experts.gate_up_proj_bias',
  'experts.down_proj_blocks',
  'experts.down_proj_scales',
  'experts.down_proj_bias',
  'router.weight',
  'router.bias',
] as const;

type Part = (typeof parts)[number];
type Layer = Readonly<Record<Part, StoredTensor>>;

export interface Pair {
  child: StoredTensors;
  parent: StoredTensors;
}

/**
 * Proves from files alone, a row at a time, that the child's experts and router rows are the parent's,
 * byte for byte. With a kept-expert map, row i of the child must be row `kept[layer][i]` of the parent;
 * without one, every row must be some row of the parent, in ascending order. Gives the proven map;
 * FROZEN_MOVED names the first expert that differs.
 */
export async function verifyExperts(pair: Pair, kept?: readonly (readonly number[])[]): Promise<number[][]> {
  const layers = layerCount(pair.child);
  if (layers !== layerCount(pair.parent)) {
    throw moved(`the child has ${layers} layers, the parent ${layerCount(pair.parent)}`);
  }
  if (kept !== undefined && kept.length !== layers) {
    throw moved(`the map has ${kept.length} layers, the child ${layers}`);
  }
  const proven: number[][] = [];
  for (let layer = 0; layer < layers; layer++) {
    const own = layerOf(pair.child, layer);
    const source = layerOf(pair.parent, layer);
    checkLayout(layer, own, source);
    const rows = await rowsOf(pair, { layer, own, source });
    proven.push(kept === undefined ? findRows(layer, rows) : compareRows(layer, rows, kept[layer] ?? []));
  }
  return proven;
}

function layerCount(tensors: StoredTensors): number {
  let count = 0;
  for (const name of tensors.names()) {
    const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
    if (layer !== undefined) count = Math.max(count, Number(layer) + 1);
  }
  return count;
}

function layerOf(tensors: StoredTensors, layer: number): Layer {
  const found = parts.map((part) => [part, tensors.get(`model.layers.${layer}.mlp.${part}`)] as const);
  return Object.fromEntries(found) as Layer;
}

function checkLayout(layer: number, own: Layer, source: Layer): void {
  for (const part of parts) {
    const [mine, theirs] = [own[part], source[part]];
    const isAlike = mine.dtype === theirs.dtype && sameRow(mine.shape, theirs.shape);
    if (!isAlike)
      throw moved(`layer ${layer}, ${part}: ${form(mine)} in the child, ${form(theirs)} in the parent`);
  }
  for (const [whose, tensors] of [
    ['child', own],
    ['parent', source],
  ] as const) {
    if (new Set(parts.map((part) => tensors[part].shape[0])).size !== 1)
      throw moved(`layer ${layer}: the ${whose}'s tensors differ in their number of experts`);
  }
}

/** One digest a part, for every expert: two rows are equal if their digests are. */
interface Rows {
  own: readonly Digests[];
  source: readonly Digests[];
}
type Digests = readonly string[];

async function rowsOf(
  { child, parent }: Pair,
  of: { layer: number; own: Layer; source: Layer },
): Promise<Rows> {
  return { own: await digests(child, of.own), source: await digests(parent, of.source) };
}

async function digests(tensors: StoredTensors, layer: Layer): Promise<Digests[]> {
  const found: Digests[] = [];
  const experts = layer['router.bias'].shape[0] ?? 0;
  for (let expert = 0; expert < experts; expert++) {
    const own: string[] = [];
    for (const part of parts) {
      own.push(
        createHash('sha256')
          .update(await tensors.row(layer[part], expert))
          .digest('hex'),
      );
    }
    found.push(own);
  }
  return found;
}

function compareRows(layer: number, { own, source }: Rows, kept: readonly number[]): number[] {
  if (kept.length !== own.length) {
    throw moved(`layer ${layer}: the map keeps ${kept.length} experts, the child has ${own.length}`);
  }
  kept.forEach((expert, row) => {
    const differing = differences(own[row], source[expert]);
    if (differing.length > 0) throw movedExpert(layer, row, not(differing, expert));
  });
  return [...kept];
}

function findRows(layer: number, { own, source }: Rows): number[] {
  const byDigest = new Map<string, number>();
  source.forEach((each, expert) => {
    const name = each.join();
    if (!byDigest.has(name)) byDigest.set(name, expert);
  });
  const found: number[] = [];
  own.forEach((each, row) => {
    const expert = byDigest.get(each.join());
    if (expert === undefined) throw movedExpert(layer, row, nearest(each, source));
    const last = found.at(-1) ?? -1;
    if (expert <= last) throw movedExpert(layer, row, `the parent's expert ${expert} comes after ${last}`);
    found.push(expert);
  });
  return found;
}

function nearest(own: Digests, source: readonly Digests[]): string {
  const distances = source.map((each) => differences(own, each).length);
  const least = Math.min(...distances);
  if (least === parts.length) return 'no expert of the parent has any of its tensors';
  const expert = distances.indexOf(least);
  return not(differences(own, source[expert]), expert);
}

function differences(own: Digests | undefined, source: Digests | undefined): Part[] {
  return parts.filter((_, index) => own?.[index] !== source?.[index]);
}

function not(differing: readonly Part[], expert: number): string {
  return `its ${differing.join(', ')} ${differing.length === 1 ? 'is' : 'are'} not that of the parent's expert ${expert}`;
}

function sameRow(a: readonly number[], b: readonly number[]): boolean {
  return a.slice(1).join() === b.slice(1).join();
}

function form({ dtype, shape }: StoredTensor): string {
  return `${dtype} [${shape.join(', ')}]`;
}

function movedExpert(layer: number, expert: number, what: string): Failure {
  return new Failure('FROZEN_MOVED', `layer ${layer}, expert ${expert} of the child: ${what}`, {
    details: { layer, expert },
  });
}

function moved(message: string): Failure {
  return new Failure('FROZEN_MOVED', message);
}
