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

interface Fault {
  message: string;
  hint?: string;
}

/**
 * A training's step is n micro-batches on every GPU, or on every group of GPUs that shares a sequence: a number of sequences
 * that cannot be cut so would end the job when its GPUs are already paid for.
 */
export function checkLayout(trained: Trained, { faults, place }: { faults: Faults; place: Place }): void {
  const sequences = trained.kind.sequencesPerStep?.(trained.settings);
  if (sequences === undefined) return;
  const fault = sharingFault(trained) ?? stepFault(trained, sequences);
  if (fault !== undefined) faults.add('BAD_LAYOUT', place, fault);
}

/** GPUs that share a sequence: each takes a piece from its front and one from its back. */
function sharingFault({ name, kind, settings, resources }: Trained): Fault | undefined {
  const { context_parallel: context = 1 } = resources;
  if (context === 1) return undefined;
  const asked = `${name}.resources: context_parallel ${context}`;
  if (gpusOf(resources) % context !== 0)
    return { message: `${asked} does not divide ${devicesOf(resources)}` };
  const tokens = kind.sharedTokens?.(settings);
  if (tokens === undefined) return { message: `${asked}: ${kind.name} cuts no sequence` };
  if (tokens % (2 * context) === 0) return undefined;
  return { message: `${asked}: ${tokens} tokens are not ${2 * context} pieces of one length` };
}

function stepFault({ name, resources }: Trained, sequences: number): Fault | undefined {
  const { micro_batch, context_parallel: context = 1 } = resources;
  const groups = gpusOf(resources) / context;
  const micro = micro_batch ?? Math.floor(sequences / groups);
  if (micro >= 1 && sequences % (micro * groups) === 0) return undefined;
  const sharing = context === 1 ? '' : ` (${context} a sequence)`;
  const batch = micro_batch === undefined ? '' : ` with micro_batch ${micro_batch}`;
  return {
    message: `${name}: a step of ${sequences} sequences cannot be cut over ${devicesOf(resources)}${sharing}${batch}`,
    hint: `sequences of a step = n x micro_batch x gpus / context_parallel: a multiple of ${Math.max(1, micro_batch ?? 1) * groups}`,
  };
}

/** A stage without GPUs is one process. */
const gpusOf = (resources: Resources): number => Math.max(1, resources.gpus);

const devicesOf = (resources: Resources): string =>
  gpusOf(resources) === 1 ? 'one process' : `${resources.gpus} GPUs`;
