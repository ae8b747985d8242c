import { createHash } from 'node:crypto';
import { Failure } from '../../core/errors.ts';
import type { Decoding } from '../model-runner.ts';

/** Chooses the next token from one row of logits. */
export type PickToken = (logits: Float32Array) => number;

/** A chooser for one answer. Sampling is seeded by the request, so that no batch and no order changes an answer. */
export function tokenPicker(decoding: Decoding, requestId: string): PickToken {
  switch (decoding.kind) {
    case 'greedy':
      return greatest;
    case 'sampled': {
      const random = randomStream(`${decoding.seed}\n${requestId}`);
      return (logits) => sample(logits, decoding.temperature, random());
    }
  }
}

/** The lowest id of the greatest logit. */
function greatest(logits: Float32Array): number {
  let best = 0;
  let bestLogit = logits[0] ?? NaN;
  for (let id = 1; id < logits.length; id++) {
    const logit = logits[id] ?? NaN;
    if (logit > bestLogit) {
      best = id;
      bestLogit = logit;
    }
  }
  requireFinite(bestLogit);
  return best;
}

/** The id at which the cumulated softmax of logits / temperature passes `at` (0 to 1). */
function sample(logits: Float32Array, temperature: number, at: number): number {
  const top = logits[greatest(logits)] ?? NaN;
  const weights = Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
  const target = at * weights.reduce((sum, weight) => sum + weight, 0);
  let passed = 0;
  for (const [id, weight] of weights.entries()) {
    passed += weight;
    if (passed > target) return id;
  }
  return weights.findLastIndex((weight) => weight > 0);
}

function requireFinite(logit: number): void {
  if (!Number.isFinite(logit)) throw new Failure('ENGINE_BUG', `the model's greatest logit is ${logit}`);
}

/** Numbers in [0, 1) from a counter hashed with the seed: slow beside a step of a model, and nothing to get wrong. */
function randomStream(seed: string): () => number {
  let count = 0;
  return () => {
    const hash = createHash('sha256').update(`${seed}\n${count++}`).digest();
    return hash.readUIntBE(0, 6) / 2 ** 48;
  };
}
