import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Failure } from '../../core/errors.ts';
import { JsonFields } from '../json-fields.ts';

/** What `onnx.json` says of a graph (engine/src/fretsaw_engine/methods/export_onnx/graph.py). */
export interface GraphShape {
  /** Window of every layer in tokens; null sees everything. */
  windows: (number | null)[];
  kvHeads: number;
  headDim: number;
  vocabSize: number;
}

/** Past keys and values of one layer: `[rows, kvHeads, pastRows, headDim]`. */
export interface LayerPast {
  key: Tensor;
  value: Tensor;
}

export interface StepInput {
  /** `[rows, step]`, row by row. */
  tokenIds: BigInt64Array;
  positions: BigInt64Array;
  rows: number;
  /** By window: for a prompt its length - 1, for one more token how many past rows count. */
  lengths: ReadonlyMap<number | null, Int32Array>;
  pasts: readonly LayerPast[];
}

/** Views into what ONNX Runtime returned; valid until the next step. */
export interface StepOutput {
  /** `[rows, step, vocabSize]` */
  logits: Float32Array;
  /** `[rows, step, layers x 2 x kvHeads x headDim]`: K and V of every layer, to be stored by the caller. */
  newKv: Float32Array;
}

export async function readGraphShape(folder: string): Promise<GraphShape> {
  const path = join(folder, 'onnx.json');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('BAD_INPUT', `${folder}: no onnx.json`, { cause: error });
  });
  const fields = JsonFields.parse(text, path);
  if (fields.text('schema') !== 'fretsaw/onnx/v1') {
    throw new Failure('BAD_INPUT', `${path}: schema is ${fields.text('schema')}`);
  }
  return {
    windows: fields
      .records('layers')
      .map((layer) => (layer.has('window') ? layer.integer('window', 1) : null)),
    kvHeads: fields.integer('kv_heads', 1),
    headDim: fields.integer('head_dim', 1),
    vocabSize: fields.integer('vocab_size', 1),
  };
}

export type ExecutionProvider = 'cpu' | 'cuda';

export interface GraphOptions {
  threads: number;
  /** What runs the graph; nodes that CUDA has no kernel for run on the CPU. */
  provider?: ExecutionProvider;
}

/** One exported model, open in ONNX Runtime. */
export class DecoderGraph {
  readonly shape: GraphShape;
  readonly #session: InferenceSession;

  private constructor(shape: GraphShape, session: InferenceSession) {
    this.shape = shape;
    this.#session = session;
  }

  static async open(folder: string, { threads, provider = 'cpu' }: GraphOptions): Promise<DecoderGraph> {
    const shape = await readGraphShape(folder);
    try {
      const session = await InferenceSession.create(join(folder, 'model.onnx'), {
        executionProviders: [provider],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        logSeverityLevel: 3,
      });
      return new DecoderGraph(shape, session);
    } catch (error) {
      const hint = provider === 'cpu' ? '' : ` (${cudaHint})`;
      throw new Failure(
        'BAD_INPUT',
        `${folder}: ONNX Runtime cannot open model.onnx on ${provider}: ${String(error)}${hint}`,
        { cause: error },
      );
    }
  }

  async step(input: StepInput): Promise<StepOutput> {
    const { rows, lengths, pasts } = input;
    const shape = [rows, input.tokenIds.length / rows];
    const feeds: Record<string, Tensor> = {
      input_ids: new Tensor('int64', input.tokenIds, shape),
      position_ids: new Tensor('int64', input.positions, shape),
    };
    for (const [window, values] of lengths) {
      feeds[`lengths.${window ?? 'full'}`] = new Tensor('int32', values, [rows]);
    }
    for (const [layer, past] of pasts.entries()) {
      feeds[`past.${layer}.key`] = past.key;
      feeds[`past.${layer}.value`] = past.value;
    }
    const { logits, new_kv: newKv } = await this.#session.run(feeds, ['logits', 'new_kv']);
    return { logits: floats(logits), newKv: floats(newKv) };
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

const cudaHint =
  'its CUDA libraries come with `node node_modules/onnxruntime-node/script/install.js`, and need CUDA and cuDNN on the host';

function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data;
  throw new Failure('ENGINE_BUG', `expected a float32 output, found ${tensor?.type ?? 'nothing'}`);
}
