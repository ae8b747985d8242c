import type { LayerShape, ModelShape } from '../costs/config.ts';
import {
  cachedTokens,
  gibibyte,
  kvBytes,
  kvBytesPerToken,
  layerBytes,
  layerParameters,
  modelSize,
} from '../costs/geometry.ts';
import { hardware } from '../costs/hardware.ts';
import {
  batchSeconds,
  cacheCapacityBytes,
  fixedDecodeSeconds,
  layerTime,
  type Serving,
} from '../costs/roofline.ts';
import type { Row } from './problem.ts';
import type { Scenario, SelectSettings } from './settings.ts';

export type LayerChoices = readonly (readonly LayerShape[])[];

/** A row whose cost of a choice is the same in every layer. */
interface RowPlan {
  name: string;
  unit: string;
  sense?: Row['sense'];
  limit: number;
  cost: (choice: LayerShape, layer: number) => number;
}

/** The limits that no scenario is needed for. */
export function architectureRows(choices: LayerChoices, model: ModelShape, settings: SelectSettings): Row[] {
  const size = modelSize(model);
  const plans: RowPlan[] = [];
  const keptShare = (choice: LayerShape): number => choice.experts / size.experts;
  if (settings.expertsKeptMax !== undefined) {
    plans.push({
      name: 'experts_kept_max',
      unit: 'of experts',
      limit: settings.expertsKeptMax,
      cost: keptShare,
    });
  }
  if (settings.expertsKeptMin !== undefined) {
    const limit = settings.expertsKeptMin;
    plans.push({ name: 'experts_kept_min', unit: 'of experts', sense: 'at_least', limit, cost: keptShare });
  }
  if (settings.fullAttentionWindowed !== undefined) {
    const { sense, count } = settings.fullAttentionWindowed;
    const isWindowed = (choice: LayerShape, layer: number): number =>
      model.layers[layer]?.window === null && choice.window !== null ? 1 : 0;
    plans.push({ name: 'full_attention_windowed', unit: 'layers', sense, limit: count, cost: isWindowed });
  }
  if (settings.parametersMax !== undefined) {
    const fixed =
      size.parameters - model.layers.reduce((sum, layer) => sum + layerParameters(model, layer), 0);
    const limit = settings.parametersMax - fixed;
    plans.push({
      name: 'parameters_max',
      unit: 'parameters in layers',
      limit,
      cost: (choice) => layerParameters(model, choice),
    });
  }
  if (settings.weightGibMax !== undefined) {
    const limit = settings.weightGibMax - fixedBytes(model) / gibibyte;
    plans.push({
      name: 'weight_gib_max',
      unit: 'GiB in layers',
      limit,
      cost: (choice) => layerBytes(model, choice) / gibibyte,
    });
  }
  if (settings.kvMax !== undefined) {
    const { context, ofParent } = settings.kvMax;
    const whole = kvBytes(model, context, 1);
    const cost = (choice: LayerShape): number =>
      (cachedTokens(choice, context) * kvBytesPerToken(model, 1)) / whole;
    plans.push({ name: `kv_max at ${context} tokens`, unit: 'of the parent', limit: ofParent, cost });
  }
  return plans.map((plan) => toRow(plan, choices));
}

/** The limits of one scenario at one batch: linear, because the batch is fixed. */
export function scenarioRows(
  choices: LayerChoices,
  model: ModelShape,
  given: { scenario: Scenario; serving: Serving; batch: number },
): Row[] {
  const { scenario, batch } = given;
  const plans = [...memoryPlans(model, given), ...timePlans(model, given)];
  const suffix = `${scenario.name}, ${placement(scenario)}, batch ${batch}`;
  return plans.map((plan) => toRow({ ...plan, name: `${plan.name} (${suffix})` }, choices));
}

/** GPUs, and how they are used where it is not plain tensor parallelism over all of them. */
function placement({ gpus, tensorParallel, expertParallel }: Scenario): string {
  const tensor = tensorParallel === gpus ? '' : ` TP ${tensorParallel}`;
  return `${gpus} GPU${tensor}${expertParallel === 1 ? '' : ` EP ${expertParallel}`}`;
}

function memoryPlans(
  model: ModelShape,
  given: { scenario: Scenario; serving: Serving; batch: number },
): RowPlan[] {
  const { scenario, serving, batch } = given;
  const context = scenario.inputTokens + scenario.outputTokens;
  const perToken = kvBytesPerToken(model, scenario.kvElementBytes);
  const cost = (choice: LayerShape): number =>
    (layerBytes(model, choice) + batch * cachedTokens(choice, context) * perToken) / gibibyte;
  const fixed = fixedBytes(model) / gibibyte;
  const plans: RowPlan[] = [];
  if (scenario.mustFit) {
    plans.push({
      name: 'memory',
      unit: 'GiB in layers',
      limit: cacheCapacityBytes(serving) / gibibyte - fixed,
      cost,
    });
  }
  if (scenario.memoryMax !== undefined) {
    const whole = fixed + model.layers.reduce((sum, layer) => sum + cost(layer), 0);
    plans.push({
      name: 'memory_max',
      unit: 'GiB in layers',
      limit: scenario.memoryMax * whole - fixed,
      cost,
    });
  }
  return plans;
}

/** tokens/s = B O / (O t_dec + B t_pre) >= T is linear in the layers' times once B is fixed. */
function timePlans(
  model: ModelShape,
  given: { scenario: Scenario; serving: Serving; batch: number },
): RowPlan[] {
  const { scenario, serving, batch } = given;
  const fixedSeconds = scenario.outputTokens * fixedDecodeSeconds(model, given);
  const cost = (choice: LayerShape): number => {
    const time = layerTime(model, choice, given);
    return scenario.outputTokens * time.decodeSeconds + batch * time.prefillSeconds;
  };
  const plan = (name: string, seconds: number): RowPlan => ({
    name,
    unit: 's in layers',
    limit: seconds - fixedSeconds,
    cost,
  });
  const plans: RowPlan[] = [];
  if (scenario.timeMax !== undefined)
    plans.push(plan('time_max', scenario.timeMax * batchSeconds(model, given)));
  if (scenario.throughputMin !== undefined) {
    plans.push(
      plan('throughput_min', (serving.replicas * batch * scenario.outputTokens) / scenario.throughputMin),
    );
  }
  if (scenario.latencyMsMax !== undefined) {
    plans.push(plan('latency_ms_max', (scenario.latencyMsMax / 1000) * scenario.outputTokens));
  }
  return plans;
}

export function servingOf(scenario: Scenario, settings: SelectSettings): Serving {
  return {
    hardware: hardware[scenario.hardware ?? settings.hardware],
    engine: settings.engine.engine,
    gpus: scenario.tensorParallel,
    expertParallel: scenario.expertParallel,
    replicas: scenario.gpus / scenario.tensorParallel,
    inputTokens: scenario.inputTokens,
    outputTokens: scenario.outputTokens,
    kvElementBytes: scenario.kvElementBytes,
  };
}

/** Embedding, output matrix and final norm. */
function fixedBytes(model: ModelShape): number {
  return modelSize(model).bytes - model.layers.reduce((sum, layer) => sum + layerBytes(model, layer), 0);
}

function toRow(plan: RowPlan, choices: LayerChoices): Row {
  return {
    name: plan.name,
    unit: plan.unit,
    sense: plan.sense ?? 'at_most',
    limit: plan.limit,
    costs: choices.map((options, layer) => options.map((choice) => plan.cost(choice, layer))),
  };
}
