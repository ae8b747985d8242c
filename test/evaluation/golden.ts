import { readFileSync } from 'node:fs';
import { JsonFields } from '../../evaluation/json-fields.ts';
import type { ChatMessage } from '../../evaluation/task-examples.ts';

/** An exported model with random weights, and what transformers' generate answers with it. */
export const nanoOnnx = new URL('../fixtures/nano-onnx/', import.meta.url).pathname;

export interface GoldenAnswer {
  id: string;
  messages: ChatMessage[];
  effort: string;
  tokenIds: number[];
}

/** A file in engine/contract/, which the engine's tests hold to the engine. */
export function readContract(name: string): JsonFields {
  const path = new URL(`../../engine/contract/${name}`, import.meta.url).pathname;
  const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
  return JsonFields.of(Array.isArray(value) ? { cases: value } : value, name);
}

export function readGoldenAnswers(): GoldenAnswer[] {
  const cases: unknown = JSON.parse(readFileSync(`${nanoOnnx}answers.golden.json`, 'utf8'));
  return JsonFields.of({ cases }, 'answers.golden.json')
    .records('cases')
    .map((each) => ({
      id: each.text('id'),
      messages: readMessages(each),
      effort: each.text('effort'),
      tokenIds: each.integers('token_ids'),
    }));
}

export function readMessages(fields: JsonFields): ChatMessage[] {
  return fields
    .records('messages')
    .map((message) => ({ role: message.text('role'), content: message.text('content') }));
}
