import { canonicalJson } from '../core/canonical-json.ts';
import type { KeyDocument } from '../core/keys.ts';
import type { DataSize, EstimateInput, ModelSize, Range, Work } from '../kinds/kind.ts';
import { kindNamed } from '../kinds/registry.ts';
import type { PastRecord } from './nearest.ts';
import type { PlannedStage } from './plan.ts';
import type { ResolvedStage } from './resolve.ts';

/** Seconds of one device, summed over devices, and where the figure is from. */
export interface Cost {
  device: 'cpu' | 'gpu';
  seconds: Range;
  source: 'records' | 'estimate';
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

/**
 * Records that asked for the same settings say it best; without one, records of the kind are scaled by
 * what the kind estimates for theirs and for ours; else the estimate alone, else nothing.
 */
export function costOf(stage: PlannedStage, { past, sizes }: Knowledge): Cost | null {
  const kind = kindNamed(stage.kind);
  const device = stage.resources.gpus > 0 ? 'gpu' : 'cpu';
  const timed = past.flatMap(({ document, seconds }) =>
    seconds?.device === device ? [{ document, seconds: seconds.seconds }] : [],
  );
  const asked = canonicalJson(withoutSeed(stage.with));
  const same = timed.filter(({ document }) => canonicalJson(withoutSeed(document.with)) === asked);
  if (same.length > 0)
    return { device, seconds: rangeOf(same.map(({ seconds }) => seconds)), source: 'records' };
  const input = estimateInput(stage, sizes);
  // Only the ratio of two estimates counts here: where sizes are unknown, they are taken to be equal.
  const alike = { model: unit, data: { examples: 1, tokens: 1 }, ...input };
  const ours = kind.estimate(alike);
  const scaled = timed.flatMap(({ document, seconds }) => {
    const theirs = kind.estimate({ ...alike, with: document.with });
    return ours === undefined || theirs === undefined || theirs.high === 0
      ? []
      : [(seconds * ours.high) / theirs.high];
  });
  const estimated = kind.estimate(input);
  if (scaled.length > 0 && kind.runner !== 'inline')
    return { device, seconds: rangeOf(scaled), source: 'records' };
  return estimated === undefined ? null : { device, seconds: estimated, source: 'estimate' };
}

/** FLOPs and memory a GPU of a stage, where its kind has formulas for them. */
export function workOf(stage: PlannedStage, sizes: Sizes | undefined): Work | null {
  return kindNamed(stage.kind).work?.(estimateInput(stage, sizes)) ?? null;
}

function estimateInput(stage: PlannedStage, sizes: Sizes | undefined): EstimateInput {
  const { cpus, gpus, micro_batch, memory_gib, context_parallel } = stage.resources;
  const resources = {
    cpus,
    gpus,
    ...(micro_batch === undefined ? {} : { micro_batch }),
    ...(context_parallel === undefined ? {} : { context_parallel }),
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

const unit: ModelSize = { parameters: 1, activeParameters: 1, layers: 1 };

function withoutSeed(settings: KeyDocument['with']): KeyDocument['with'] {
  return Object.fromEntries(Object.entries(settings).filter(([name]) => name !== 'seed'));
}

function rangeOf(values: readonly number[]): Range {
  return { low: Math.min(...values), high: Math.max(...values) };
}
