import { readEngine, type CalibratedEngine } from '../costs/engine-document.ts';
import { fittedEngine, predictionBand } from '../costs/engine-model.ts';
import type { HardwareName } from '../costs/hardware.ts';
import { hardwareNames } from '../costs/hardware.ts';
import {
  field,
  flag,
  integerFrom,
  isAbsent,
  list,
  numberFrom,
  oneOf,
  onlyKeys,
  optional,
  orNull,
  text,
  withDefault,
  wrong,
  type Place,
} from '../costs/json-reader.ts';

/** What a selection is asked for: the `with` of a `select` stage. */
export interface SelectSettings {
  scenarios: Scenario[];
  expertsKeptMax: number | undefined;
  expertsKeptMin: number | undefined;
  fullAttentionWindowed: CountRule | undefined;
  /** Every kept count divides by this. */
  expertMultiple: number;
  expertCounts: number[] | undefined;
  windows: (number | null)[] | undefined;
  /** Score a unit of lost long-context accuracy counts as. */
  longContextWeight: number;
  parametersMax: number | undefined;
  weightGibMax: number | undefined;
  kvMax: { context: number; ofParent: number } | undefined;
  /** Experts that any one layer keeps. */
  expertsPerLayer: { min: number; max: number };
  /** Layers in which the selection differs at least from each architecture in `differ_from`. */
  distance: number;
  /** In order of importance; one at least. */
  objectives: Objective[];
  force: ChoiceRule[];
  forbid: ChoiceRule[];
  hardware: HardwareName;
  engine: CalibratedEngine;
  timeLimitSeconds: number;
  alternatives: { count: number; distance: number };
  noiseSamples: number;
  randomSamples: number;
  paretoPoints: number;
  seed: number;
}

/** What is made as small as can be; the next objective may give up `slack` of it, as a share. */
export type Objective = { slack: number } & (
  | { minimise: 'score' | 'parameters' | 'weight_gib' }
  | { minimise: 'kv'; context: number }
  | { minimise: 'time'; scenario: string }
);

export type CountRule = { sense: 'exactly' | 'at_least' | 'at_most'; count: number };

/** A rule on one layer, or on all when `layer` is absent. */
export interface ChoiceRule {
  layer: number | undefined;
  experts: number | undefined;
  window: number | null | undefined;
}

export interface Scenario {
  name: string;
  hardware: HardwareName | undefined;
  gpus: number;
  /** GPUs of one replica; there are gpus / tensorParallel replicas, each with all weights. */
  tensorParallel: number;
  /** 1 or tensorParallel: GPUs over which whole experts are spread. Every kept count divides by it. */
  expertParallel: number;
  inputTokens: number;
  outputTokens: number;
  kvElementBytes: 1 | 2;
  /** Of the parent, where its gain is told. */
  parentKvElementBytes: 1 | 2;
  /** One is fixed, several are tried, none means powers of two. */
  batches: number[] | undefined;
  /** Weights and cache must fit the server. */
  mustFit: boolean;
  /** Weights and cache as a share of the parent's. */
  memoryMax: number | undefined;
  /** Time of a batch as a share of the parent's. */
  timeMax: number | undefined;
  /** Generated tokens a second, all requests together. */
  throughputMin: number | undefined;
  /** Milliseconds a token of one request. */
  latencyMsMax: number | undefined;
}

const share = numberFrom(0, 1);
const count = integerFrom(1);
const known = [
  'scenarios', 'experts_kept_max', 'experts_kept_min', 'full_attention_windowed', 'expert_multiple', 'expert_counts',
  'windows', 'long_context_weight', 'parameters_max', 'weight_gib_max', 'kv_max', 'force', 'forbid', 'hardware', 'engine',
  'experts_per_layer', 'distance', 'objectives',
  'time_limit_seconds', 'alternatives', 'noise_samples', 'random_samples', 'pareto_points', 'seed',
]; // prettier-ignore

export function parseSelectSettings(place: Place): SelectSettings {
  onlyKeys(place, known);
  const at = (name: string): Place => field(place, name);
  const scenarios = withDefault(at('scenarios'), list(readScenario), []);
  return {
    scenarios,
    expertsPerLayer: withDefault(at('experts_per_layer'), readRange, { min: 1, max: Infinity }),
    distance: withDefault(at('distance'), count, 1),
    objectives: withDefault(at('objectives'), readObjectives(scenarios), [{ minimise: 'score', slack: 0 }]),
    expertsKeptMax: optional(at('experts_kept_max'), share),
    expertsKeptMin: optional(at('experts_kept_min'), share),
    fullAttentionWindowed: optional(at('full_attention_windowed'), readCountRule),
    expertMultiple: withDefault(at('expert_multiple'), count, 1),
    expertCounts: optional(at('expert_counts'), list(count)),
    windows: optional(at('windows'), list(orNull(count))),
    longContextWeight: withDefault(at('long_context_weight'), numberFrom(0), 1),
    parametersMax: optional(at('parameters_max'), numberFrom(0)),
    weightGibMax: optional(at('weight_gib_max'), numberFrom(0)),
    kvMax: optional(at('kv_max'), (kv) => ({
      context: count(field(kv, 'context')),
      ofParent: share(field(kv, 'of_parent')),
    })),
    force: withDefault(at('force'), list(readChoiceRule), []),
    forbid: withDefault(at('forbid'), list(readChoiceRule), []),
    hardware: withDefault(at('hardware'), oneOf(hardwareNames), 'h100-sxm'),
    engine: withDefault(at('engine'), readEngine, { engine: fittedEngine, band: predictionBand }),
    timeLimitSeconds: withDefault(at('time_limit_seconds'), numberFrom(0), 60),
    alternatives: withDefault(at('alternatives'), readAlternatives, { count: 3, distance: 1 }),
    noiseSamples: withDefault(at('noise_samples'), integerFrom(0), 20),
    randomSamples: withDefault(at('random_samples'), integerFrom(0), 200),
    paretoPoints: withDefault(at('pareto_points'), integerFrom(0), 20),
    seed: withDefault(at('seed'), integerFrom(0), 1),
  };
}

function readScenario(place: Place): Scenario {
  const at = (name: string): Place => field(place, name);
  onlyKeys(place, [
    'name', 'hardware', 'gpus', 'tensor_parallel', 'expert_parallel', 'input_tokens', 'output_tokens', 'kv', 'parent_kv',
    'batch', 'must_fit', 'memory_max', 'time_max',
    'throughput_min', 'latency_ms_max',
  ]); // prettier-ignore
  const kv = withDefault(at('kv'), readKvFormat, 1);
  const gpus = withDefault(at('gpus'), count, 1);
  const tensorParallel = withDefault(at('tensor_parallel'), count, gpus);
  if (gpus % tensorParallel !== 0) wrong(at('tensor_parallel'), `a divisor of gpus ${gpus}`);
  const expertParallel = withDefault(at('expert_parallel'), count, 1);
  if (expertParallel !== 1 && expertParallel !== tensorParallel)
    wrong(at('expert_parallel'), `1 or tensor_parallel ${tensorParallel}`);
  return {
    name: text(at('name')),
    hardware: optional(at('hardware'), oneOf(hardwareNames)),
    gpus,
    tensorParallel,
    expertParallel,
    inputTokens: count(at('input_tokens')),
    outputTokens: count(at('output_tokens')),
    kvElementBytes: kv,
    parentKvElementBytes: withDefault(at('parent_kv'), readKvFormat, kv),
    batches: optional(at('batch'), (batch) =>
      Array.isArray(batch.value) ? list(count)(batch) : [count(batch)],
    ),
    mustFit: withDefault(at('must_fit'), flag, true),
    memoryMax: optional(at('memory_max'), share),
    timeMax: optional(at('time_max'), share),
    throughputMin: optional(at('throughput_min'), numberFrom(0)),
    latencyMsMax: optional(at('latency_ms_max'), numberFrom(0)),
  };
}

function readKvFormat(place: Place): 1 | 2 {
  return oneOf(['fp8', 'bf16'])(place) === 'fp8' ? 1 : 2;
}

function readRange(place: Place): { min: number; max: number } {
  onlyKeys(place, ['min', 'max']);
  const min = withDefault(field(place, 'min'), count, 1);
  const max = withDefault(field(place, 'max'), count, Infinity);
  if (min > max) wrong(place, `min no more than max ${max}`, String(min));
  return { min, max };
}

function readObjectives(scenarios: readonly Scenario[]): (place: Place) => Objective[] {
  const read = (place: Place): Objective => {
    onlyKeys(place, ['minimise', 'slack', 'scenario', 'context']);
    const slack = withDefault(field(place, 'slack'), numberFrom(0), 0);
    const minimise = oneOf(['score', 'parameters', 'weight_gib', 'kv', 'time'])(field(place, 'minimise'));
    if (minimise === 'kv') return { minimise, slack, context: count(field(place, 'context')) };
    if (minimise !== 'time') return { minimise, slack };
    const names = scenarios.map(({ name }) => name);
    return { minimise, slack, scenario: oneOf(names)(field(place, 'scenario')) };
  };
  return (place) => {
    const found = list(read)(place);
    return found.length > 0 ? found : wrong(place, 'at least one objective', 'none');
  };
}

function readCountRule(place: Place): CountRule {
  if (typeof place.value === 'number') return { sense: 'exactly', count: integerFrom(0)(place) };
  for (const sense of ['exactly', 'at_least', 'at_most'] as const) {
    const found = field(place, sense);
    if (!isAbsent(found)) return { sense, count: integerFrom(0)(found) };
  }
  return wrong(place, 'a number, or one of exactly, at_least, at_most');
}

function readChoiceRule(place: Place): ChoiceRule {
  onlyKeys(place, ['layer', 'experts', 'window']);
  return {
    layer: optional(field(place, 'layer'), integerFrom(0)),
    experts: optional(field(place, 'experts'), count),
    window: optional(field(place, 'window'), orNull(count)),
  };
}

function readAlternatives(place: Place): { count: number; distance: number } {
  onlyKeys(place, ['count', 'distance']);
  return {
    count: withDefault(field(place, 'count'), integerFrom(0), 3),
    distance: withDefault(field(place, 'distance'), count, 1),
  };
}
