import type { Json } from '../core/canonical-json.ts';
import type { KeyDocument, StageKey } from '../core/keys.ts';
import type { ModelSize } from '../kinds/kind.ts';

/** An earlier record, as far as a plan needs it. */
export interface PastRecord {
  key: StageKey;
  document: KeyDocument;
  stage: string;
  finishedAt: string;
  /** Device seconds that it took, over all attempts; undefined when nothing was written down. */
  seconds?: { device: 'cpu' | 'gpu'; seconds: number };
  /** Size of the model that it worked on; undefined when that is not in the store any more, or there was none. */
  model?: ModelSize;
}

export interface Difference {
  /** `with.tokens`, `inputs.data[0]`. */
  field: string;
  a?: Json;
  b?: Json;
}

/** Leaves that differ between two documents; passed in, because lineage has it. */
export type Compare = (field: string, a: Json | undefined, b: Json | undefined) => Difference[];

/** The older record that differs least, and in what: `a` is what it had, `b` what is asked for now. */
export interface Nearest {
  key: StageKey;
  stage: string;
  finishedAt: string;
  differences: readonly Difference[];
}

/**
 * Of equally near ones that of the stage of this name, which reads what this one reads when twins read
 * other things; else the newest.
 */
export function nearestRecord(
  { name, document }: { name: string; document: KeyDocument },
  past: readonly PastRecord[],
  compare: Compare,
): Nearest | undefined {
  let best: Nearest | undefined;
  for (const { key, document: older, stage, finishedAt } of past) {
    const differences = differencesOf(older, document, compare);
    const fewer = best === undefined ? -1 : differences.length - best.differences.length;
    if (fewer < 0 || (fewer === 0 && stage === name && best?.stage !== name))
      best = { key, stage, finishedAt, differences };
  }
  return best;
}

export function differencesOf(a: KeyDocument, b: KeyDocument, compare: Compare): Difference[] {
  return [
    ...compare('version', a.version, b.version),
    ...compare('with', a.with, b.with),
    ...compare('inputs', a.inputs, b.inputs),
    ...compare('environment', a.environment, b.environment),
  ];
}
