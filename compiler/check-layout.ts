import type { Json } from '../core/canonical-json.ts';
import type { Kind } from '../kinds/kind.ts';
import type { Resources } from './plan.ts';
import type { Faults, Place } from './tree.ts';

interface Trained {
  name: string;
  kind: Kind;
  settings: Readonly<Record<string, Json>>;
  resources: Resources;
}

/**
 * A training's step is n micro-batches on every GPU, or on every group of GPUs that shares a sequence: a number of sequences
 * that cannot be cut so would end the job when its GPUs are already paid for.
 */
export function checkLayout(
  { name, kind, settings, resources }: Trained,
  { faults, place }: { faults: Faults; place: Place },
): void {
  const sequences = kind.sequencesPerStep?.(settings);
  const { micro_batch, context_parallel: context = 1 } = resources;
  // A stage without GPUs is one process.
  const gpus = Math.max(1, resources.gpus);
  const devices = gpus === 1 ? 'one process' : `${gpus} GPUs`;
  if (sequences === undefined) return;
  if (gpus % context !== 0) {
    const message = `${name}.resources: context_parallel ${context} does not divide ${devices}`;
    faults.add('BAD_LAYOUT', place, { message });
    return;
  }
  const groups = gpus / context;
  const micro = micro_batch ?? Math.floor(sequences / groups);
  if (micro >= 1 && sequences % (micro * groups) === 0) return;
  const batch = micro_batch === undefined ? '' : ` with micro_batch ${micro_batch}`;
  faults.add('BAD_LAYOUT', place, {
    message: `${name}: a step of ${sequences} sequences cannot be cut over ${devices}${context === 1 ? '' : ` (${context} a sequence)`}${batch}`,
    hint: `sequences of a step = n x micro_batch x gpus / context_parallel: a multiple of ${Math.max(1, micro_batch ?? 1) * groups}`,
  });
}
