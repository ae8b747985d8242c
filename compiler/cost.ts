import { canonicalJson } from '../core/canonical-json.ts';
import type { KeyDocument } from '../core/keys.ts';
import type { DataSize, EstimateInput, Kind, ModelSize, Range, Work } from '../kinds/kind.ts';
import { kindNamed } from '../kinds/registry.ts';
import type { PastRecord } from './nearest.ts';
import type { PlannedStage } from './plan.ts';
import type { ResolvedStage } from './resolve.ts';

/** Seconds of one device, summed over devices, and where the figure is from. */
export interface Cost {
  device: 'cpu' | 'gpu';
  seconds: Range;
  /** Records of the same work; records of other settings or another model, scaled; or formulas alone. */
  source: 'records' | 'scaled' | 'estimate';
}

export interface Totals {
  hit: number;
  run: number;
  maybe: number;
  /** Stages that run or may run and whose cost nothing is known of. */
  unknownCosts: number;
  /** `low` counts only what runs for certain, `high` everything that may. */
  cpuSeconds: Range;
  gpuSeconds: Range;
  /** Of all that runs or may run, as far as formulas say. */
  flops: number;
}

/** What is known of a stage's work before anything ran. */
export type Sizes = (stage: PlannedStage) => { model?: ModelSize; data?: DataSize };

interface Knowledge {
  past: readonly PastRecord[];
  sizes: Sizes | undefined;
}

/** Models within this ratio of parameters take about the same time (a pruned child is planned as its parent). */
const sameSize = 2;
/** Beyond this ratio of parameters a record measures another machine's overheads, not this work. */
const comparableSize = 100;

/**
 * Records that asked for the same settings of a model as large say it best; without one, records of the
 * kind are scaled by what the kind estimates for theirs and for ours; else the estimate alone, else
 * nothing.
 */
export function costOf(stage: PlannedStage, { past, sizes }: Knowledge): Cost | null {
  const kind = kindNamed(stage.kind);
  const device = stage.resources.gpus > 0 ? 'gpu' : 'cpu';
  const input = estimateInput(stage, sizes);
  const timed = past.flatMap(({ document, seconds, model }) => {
    const ratio = sizeRatio(input.model, model);
    return seconds?.device === device && ratio <= comparableSize
      ? [{ document, seconds: seconds.seconds, ratio, ...(model === undefined ? {} : { model }) }]
      : [];
  });
  const asked = canonicalJson(withoutSeed(stage.with));
  const same = timed.filter(
    ({ document, ratio }) => ratio <= sameSize && canonicalJson(withoutSeed(document.with)) === asked,
  );
  if (same.length > 0)
    return { device, seconds: rangeOf(same.map(({ seconds }) => seconds)), source: 'records' };
  const scaled = timed.flatMap(({ document, seconds, model }) => {
    const theirs = { ...input, ...(model === undefined ? {} : { model }), with: document.with };
    const factor = estimateRatio(kind, input, theirs);
    return factor === undefined ? [] : [seconds * factor];
  });
  const estimated = kind.estimate(input);
  if (scaled.length > 0 && kind.runner !== 'inline')
    return { device, seconds: rangeOf(scaled), source: 'scaled' };
  return estimated === undefined ? null : { device, seconds: estimated, source: 'estimate' };
}

/** FLOPs and memory a GPU of a stage, where its kind has formulas for them. */
export function workOf(stage: PlannedStage, sizes: Sizes | undefined): Work | null {
  return kindNamed(stage.kind).work?.(estimateInput(stage, sizes)) ?? null;
}

/** What a kind's estimate is made from. */
export function estimateInput(stage: PlannedStage, sizes: Sizes | undefined): EstimateInput {
  const { cpus, gpus, micro_batch, memory_gib, context_parallel, recompute_activations } = stage.resources;
  const resources = {
    cpus,
    gpus,
    ...(micro_batch === undefined ? {} : { micro_batch }),
    ...(context_parallel === undefined ? {} : { context_parallel }),
    ...(recompute_activations === undefined ? {} : { recompute_activations }),
    ...(memory_gib === undefined ? {} : { memory_gib }),
  };
  return { with: stage.with, resources, ...sizes?.(stage) };
}

export function totalOf(stages: readonly ResolvedStage[]): Totals {
  const totals: Totals = {
    hit: 0,
    run: 0,
    maybe: 0,
    unknownCosts: 0,
    cpuSeconds: { low: 0, high: 0 },
    gpuSeconds: { low: 0, high: 0 },
    flops: 0,
  };
  for (const stage of stages) {
    totals[stage.state]++;
    if (stage.state === 'hit') continue;
    totals.flops += stage.work?.flops ?? 0;
    if (stage.cost === null) {
      totals.unknownCosts++;
      continue;
    }
    const sum = stage.cost.device === 'gpu' ? totals.gpuSeconds : totals.cpuSeconds;
    if (stage.state === 'run') sum.low += stage.cost.seconds.low;
    sum.high += stage.cost.seconds.high;
  }
  return totals;
}

/** Estimate of the one over that of the other; what neither knows (model, data) is taken to be equal. */
function estimateRatio({ estimate }: Kind, ours: EstimateInput, theirs: EstimateInput): number | undefined {
  for (const alike of [{ model: unit }, { model: unit, data: { examples: 1, tokens: 1 } }]) {
    const [a, b] = [estimate({ ...alike, ...ours }), estimate({ ...alike, ...theirs })];
    if (a !== undefined && b !== undefined && b.high > 0) return a.high / b.high;
  }
  return undefined;
}

/** How many times the one model is as large as the other; 1 where a stage has none. */
function sizeRatio(ours: ModelSize | undefined, theirs: ModelSize | undefined): number {
  if (ours === undefined) return 1;
  if (theirs === undefined) return Infinity;
  const ratio = ours.parameters / theirs.parameters;
  return Math.max(ratio, 1 / ratio);
}

const unit: ModelSize = { parameters: 1, activeParameters: 1, layers: 1 };

function withoutSeed(settings: KeyDocument['with']): KeyDocument['with'] {
  return Object.fromEntries(Object.entries(settings).filter(([name]) => name !== 'seed'));
}

function rangeOf(values: readonly number[]): Range {
  return { low: Math.min(...values), high: Math.max(...values) };
}
