import { Tensor } from 'onnxruntime-node';
import type { GraphShape, LayerPast } from './decoder-graph.ts';

/** A buffer grows by this many tokens at a time: ONNX Runtime clears as many rows a step as the buffer has. */
const growth = 32;

interface LayerBuffers {
  window: number | null;
  key: Float32Array;
  value: Float32Array;
}

/**
 * Keys and values of a batch in progress, rows 0 to `rows` - 1 in use. A layer with window w keeps a ring of
 * the last w - 1 tokens: RoPE is applied before the cache, so attention does not mind the order.
 */
export class KvCache {
  readonly #shape: GraphShape;
  readonly #maxRows: number;
  readonly #layers: LayerBuffers[];
  /** By window: how many tokens a buffer has room for. */
  readonly #capacity = new Map<number | null, number>();
  readonly #lengths: number[] = [];
  #pasts: LayerPast[] | undefined;

  constructor(shape: GraphShape, maxRows: number) {
    this.#shape = shape;
    this.#maxRows = maxRows;
    this.#layers = shape.windows.map((window) => ({
      window,
      key: new Float32Array(0),
      value: new Float32Array(0),
    }));
    for (const window of shape.windows) this.#capacity.set(window, 0);
  }

  get rows(): number {
    return this.#lengths.length;
  }

  /** Tokens of a row so far; its next token has this position. */
  lengthOf(row: number): number {
    return this.#lengths[row] ?? 0;
  }

  /** For one more token in every row: past rows that count. */
  lengths(): Map<number | null, Int32Array> {
    const counts = (window: number | null): Int32Array =>
      Int32Array.from(this.#lengths, (length) => (window === null ? length : Math.min(length, window - 1)));
    return new Map([...this.#capacity.keys()].map((window) => [window, counts(window)]));
  }

  /** The buffers as ONNX Runtime reads them; the same tensors until a row or a buffer is added. */
  pasts(): readonly LayerPast[] {
    this.#pasts ??= this.#layers.map(({ window, key, value }) => ({
      key: this.#tensor(key, window),
      value: this.#tensor(value, window),
    }));
    return this.#pasts;
  }

  /** A past of no tokens, for a batch of prompts. */
  emptyPasts(rows: number): LayerPast[] {
    const { kvHeads, headDim, windows } = this.#shape;
    const none = new Tensor('float32', new Float32Array(0), [rows, kvHeads, 0, headDim]);
    return windows.map(() => ({ key: none, value: none }));
  }

  /** Opens a new last row with the first `length` tokens of row `from` of a prompt's `newKv`. */
  addRow(newKv: Float32Array, { from, length, step }: { from: number; length: number; step: number }): void {
    if (this.rows === this.#maxRows) throw new Error('bug: no room for another row');
    const row = this.#lengths.push(0) - 1;
    this.#pasts = undefined;
    this.#reserve(length);
    // Of what a ring will overwrite again nothing is written.
    for (let token = 0; token < length; token++)
      this.#store(row, newKv, { at: from * step + token, keep: length - token });
  }

  /** Stores one more token of every row. */
  append(newKv: Float32Array): void {
    this.#reserve(Math.max(...this.#lengths) + 1);
    for (let row = 0; row < this.rows; row++) this.#store(row, newKv, { at: row, keep: 1 });
  }

  /** Drops a row; the last row takes its number. */
  removeRow(row: number): void {
    const last = this.rows - 1;
    if (row !== last) {
      for (const layer of this.#layers) {
        const size = this.#rowSize(layer.window);
        for (const buffer of [layer.key, layer.value])
          buffer.copyWithin(row * size, last * size, (last + 1) * size);
      }
      this.#lengths[row] = this.lengthOf(last);
    }
    this.#lengths.pop();
    this.#pasts = undefined;
  }

  /** `keep`: tokens of this row that are still to come in this call, this one included. */
  #store(row: number, newKv: Float32Array, { at, keep }: { at: number; keep: number }): void {
    const { kvHeads, headDim } = this.#shape;
    const position = this.lengthOf(row);
    const width = kvHeads * headDim;
    let source = at * this.#layers.length * 2 * width;
    for (const { window, key, value } of this.#layers) {
      const ring = window === null ? Infinity : window - 1;
      if (keep <= ring) {
        const capacity = this.#capacity.get(window) ?? 0;
        const slot = window === null ? position : position % ring;
        for (let head = 0; head < kvHeads; head++) {
          const target = ((row * kvHeads + head) * capacity + slot) * headDim;
          const from = source + head * headDim;
          for (let i = 0; i < headDim; i++) {
            key[target + i] = newKv[from + i] ?? NaN;
            value[target + i] = newKv[from + width + i] ?? NaN;
          }
        }
      }
      source += 2 * width;
    }
    this.#lengths[row] = position + 1;
  }

  /** Makes room for rows of `length` tokens. */
  #reserve(length: number): void {
    for (const [window, capacity] of this.#capacity) {
      const needed = window === null ? length : Math.min(length, window - 1);
      if (needed <= capacity) continue;
      const grown = Math.ceil(needed / growth) * growth;
      const next = window === null ? grown : Math.min(grown, window - 1);
      for (const layer of this.#layers) {
        if (layer.window !== window) continue;
        layer.key = this.#widen(layer.key, capacity, next);
        layer.value = this.#widen(layer.value, capacity, next);
      }
      this.#capacity.set(window, next);
      this.#pasts = undefined;
    }
  }

  #widen(buffer: Float32Array, from: number, to: number): Float32Array {
    const { kvHeads, headDim } = this.#shape;
    const wider = new Float32Array(this.#maxRows * kvHeads * to * headDim);
    for (let chunk = 0; chunk < this.#maxRows * kvHeads; chunk++) {
      const start = chunk * from * headDim;
      wider.set(buffer.subarray(start, start + from * headDim), chunk * to * headDim);
    }
    return wider;
  }

  #rowSize(window: number | null): number {
    return this.#shape.kvHeads * (this.#capacity.get(window) ?? 0) * this.#shape.headDim;
  }

  #tensor(buffer: Float32Array, window: number | null): Tensor {
    const { kvHeads, headDim } = this.#shape;
    const used = buffer.subarray(0, this.rows * this.#rowSize(window));
    return new Tensor('float32', used, [this.rows, kvHeads, this.#capacity.get(window) ?? 0, headDim]);
  }
}
