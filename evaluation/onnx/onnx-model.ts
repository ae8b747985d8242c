import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../../core/errors.ts';
import { ChatPrompts } from '../chat-prompts.ts';
import { JsonFields } from '../json-fields.ts';
import { DecoderGraph, type GraphOptions } from './decoder-graph.ts';

/** An artifact of type `onnx`, open: the graph, its tokenizer and template, and the ids that end an answer. */
export interface OnnxModel {
  graph: DecoderGraph;
  prompts: ChatPrompts;
  stopIds: ReadonlySet<number>;
  /** Prompt and answer together, in tokens: config.json's max_position_embeddings. */
  contextTokens: number;
}

export async function openOnnxModel(folder: string, options: GraphOptions): Promise<OnnxModel> {
  const prompts = await ChatPrompts.open(folder);
  const [stopIds, contextTokens] = [await readStopIds(folder, prompts), await readContext(folder)];
  return { graph: await DecoderGraph.open(folder, options), prompts, stopIds, contextTokens };
}

/** Where an answer ends: `<|return|>`, and what generation_config.json lists. */
async function readStopIds(folder: string, prompts: ChatPrompts): Promise<Set<number>> {
  const fields = await readFields(folder, 'generation_config.json');
  const listed = Array.isArray(fields.raw('eos_token_id'))
    ? fields.integers('eos_token_id')
    : [fields.integer('eos_token_id', 0)];
  return new Set([prompts.harmony.return, ...listed]);
}

async function readContext(folder: string): Promise<number> {
  return (await readFields(folder, 'config.json')).integer('max_position_embeddings', 1);
}

async function readFields(folder: string, name: string): Promise<JsonFields> {
  const path = join(folder, name);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('BAD_INPUT', `${folder}: no ${name}`, { cause: error });
  });
  return JsonFields.parse(text, path);
}
