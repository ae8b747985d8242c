import {
  expectSchema,
  field,
  flag,
  isAbsent,
  list,
  mapOf,
  number,
  optional,
  orNull,
  parseJson,
  text,
  withDefault,
  wrong,
  type Place,
} from '../costs/json-reader.ts';
import type {
  Conditions,
  Curve,
  EffortResult,
  LayerCurve,
  LayerRanking,
  Model,
  Proof,
  Reference,
  Shape,
  Size,
  Timing,
  Verdict,
} from '../report/evidence.ts';

/** Each stored document that a report or a gate reads, parsed once. */

export function parseResults(place: Place): Pick<Model, 'suite' | 'tasks' | 'conditions'> {
  expectSchema(place, 'fretsaw/results/v3');
  const tasks = list((entry) => ({ task: text(field(entry, 'task')), ...readResult(entry) }))(
    field(place, 'tasks'),
  );
  const suite = list(readResult)(field(place, 'suite')).map((result) => ({
    ...result,
    examples: result.examples ?? examplesAt(tasks, result.effort),
  }));
  return { suite, tasks, conditions: readConditions(place) };
}

function readConditions(place: Place): Conditions {
  const decoding = field(place, 'decoding');
  const parts = (['temperature', 'seed'] as const).flatMap((name) => {
    const value = optional(field(decoding, name), number);
    return value === undefined ? [] : [`${name} ${value}`];
  });
  return {
    decoding: [text(field(decoding, 'kind')), ...parts].join(', '),
    cells: list((cell) => ({
      task: text(field(cell, 'task')),
      effort: text(field(cell, 'effort')),
      version: number(field(cell, 'version')),
      questions: text(field(cell, 'questions')),
      scorers: Object.entries(mapOf(number)(field(cell, 'scorers')))
        .map(([name, version]) => `${name} ${version}`)
        .join(', '),
      maxNewTokens: number(field(cell, 'max_new_tokens')),
    }))(field(place, 'tasks')),
  };
}

function examplesAt(tasks: readonly EffortResult[], effort: string): number | undefined {
  const counts = tasks.filter((task) => task.effort === effort).map((task) => task.examples);
  return counts.reduce(
    (sum, count) => (sum === undefined || count === undefined ? undefined : sum + count),
    0,
  );
}

function readResult(place: Place): EffortResult {
  return {
    effort: text(field(place, 'effort')),
    examples: optional(field(place, 'examples'), number),
    accuracy: number(field(place, 'accuracy')),
    standardError: number(field(place, 'standard_error')),
    meanTokens: number(field(place, 'mean_tokens')),
    capHitRate: number(field(place, 'cap_hit_rate')),
    finalRate: number(field(place, 'final_rate')),
    interval: readInterval(field(place, 'interval')),
    tokenQuantiles: {
      p10: number(field(field(place, 'token_quantiles'), 'p10')),
      p50: number(field(field(place, 'token_quantiles'), 'p50')),
      p90: number(field(field(place, 'token_quantiles'), 'p90')),
      p99: number(field(field(place, 'token_quantiles'), 'p99')),
    },
    errors: number(field(place, 'errors')),
  };
}

function readInterval(place: Place): [number, number] {
  const [low, high, ...more] = list(number)(place);
  return low === undefined || high === undefined || more.length > 0
    ? wrong(place, 'two numbers')
    : [low, high];
}

/** Undefined when nothing was measured: every answer came from an attempt before. */
export function parseTimings(place: Place, measuredOn: string): Timing | undefined {
  expectSchema(place, 'fretsaw/timings/v1');
  const tokensPerSecond = orNull(number)(field(place, 'tokens_per_second'));
  if (tokensPerSecond === null) return undefined;
  return {
    tokensPerSecond,
    standardError: withDefault(field(place, 'standard_error'), orNull(number), null),
    runner: withDefault(field(place, 'runner'), text, ''),
    threads: optional(field(place, 'threads'), number),
    batchSize: optional(field(place, 'batch_size'), number),
    machine: optional(field(place, 'machine'), text),
    measuredOn,
  };
}

export function parseArchitecture(place: Place): { experts: number; window: number | null }[] {
  expectSchema(place, 'fretsaw/architecture/v1');
  return list((layer) => ({
    experts: number(field(layer, 'experts')),
    window: orNull(number)(field(layer, 'window')),
  }))(field(place, 'layers'));
}

export function parseRanking(place: Place): LayerRanking[] {
  expectSchema(place, 'fretsaw/ranking/v1');
  return list((layer) =>
    list((entry) => ({ expert: number(field(entry, 'expert')), score: number(field(entry, 'score')) }))(
      field(layer, 'experts'),
    ),
  )(field(place, 'layers'));
}

export function parseKept(place: Place): number[][] {
  expectSchema(place, 'fretsaw/kept-experts/v1');
  return list(list(number))(field(place, 'layers'));
}

/** One object a line; text stands for a number that is not finite. */
export function parseCurve(content: string, path: string): Curve {
  const lines = content.split('\n').filter((line) => line.trim() !== '');
  const rows = lines.map((line, index) => parseJson(line, `${path}:${index + 1}`));
  const steps = rows.map((row) => number(field(row, 'step')));
  const names = [...new Set(rows.flatMap((row) => keysOf(row)))].filter(
    (name) => name !== 'step' && name !== 'seconds',
  );
  const values = names.map(
    (name) =>
      [
        name,
        rows.map((row) => {
          const { value } = field(row, name);
          return typeof value === 'number' ? value : null;
        }),
      ] as const,
  );
  return {
    steps,
    values: Object.fromEntries(values.filter(([, column]) => column.some((value) => value !== null))),
  };
}

function keysOf(place: Place): string[] {
  return typeof place.value === 'object' && place.value !== null ? Object.keys(place.value) : [];
}

export function parseLayerCurves(place: Place): LayerCurve[] {
  expectSchema(place, 'fretsaw/block-scores/v1');
  return list((layer) => ({
    layer: number(field(layer, 'layer')),
    choices: list((choice) => ({
      experts: number(field(choice, 'experts')),
      score: number(field(choice, 'score')),
    }))(field(layer, 'expert_choices')).sort((a, b) => a.experts - b.experts),
    windows: list((choice) => ({
      window: orNull(number)(field(choice, 'window')),
      score: number(field(choice, 'score')),
    }))(field(layer, 'window_choices')),
    longContext: withDefault(field(layer, 'long_context'), list(readLongContext), []),
  }))(field(place, 'layers'));
}

function readLongContext(place: Place): LayerCurve['longContext'][number] {
  return {
    window: orNull(number)(field(place, 'window')),
    accuracyLoss: number(field(place, 'accuracy_loss')),
    standardError: number(field(place, 'standard_error')),
    isUndecided: withDefault(field(place, 'undecided'), flag, false),
  };
}

export function parseVerdict(place: Place): Verdict {
  expectSchema(place, 'fretsaw/verdict/v2');
  return {
    passed: flag(field(place, 'passed')),
    rules: list((rule) => ({
      rule: text(field(rule, 'rule')),
      passed: flag(field(rule, 'passed')),
      value: orNull(number)(field(rule, 'value')),
      limit: number(field(rule, 'limit')),
      standardError: orNull(number)(field(rule, 'standard_error')),
      interval: orNull(readInterval)(field(rule, 'interval')),
      support: orNull(number)(field(rule, 'support')),
      note: withDefault(field(rule, 'note'), text, ''),
    }))(field(place, 'rules')),
    override: orNull((said: Place) => ({ by: text(field(said, 'by')), reason: text(field(said, 'reason')) }))(
      field(place, 'override'),
    ),
  };
}

export function parseProof(place: Place): Proof & { parentLayers: Shape[] } {
  expectSchema(place, 'fretsaw/selection-proof/v1');
  const at = (name: string): Place => field(place, name);
  return {
    status: text(at('status')),
    value: number(at('value')),
    bound: optional(at('bound'), orNull(number)) ?? undefined,
    lpBound: optional(at('lpBound'), orNull(number)) ?? undefined,
    gap: optional(at('gap'), orNull(number)) ?? undefined,
    optimality: isAbsent(at('certificate')) ? undefined : text(field(at('certificate'), 'optimality')),
    constraints: list((row) => ({
      name: text(field(row, 'name')),
      unit: text(field(row, 'unit')),
      sense: text(field(row, 'sense')),
      limit: number(field(row, 'limit')),
      used: number(field(row, 'used')),
      slack: optional(field(row, 'slack'), number),
      shadowPrice: number(field(row, 'shadowPrice')),
      tighter: numberOrNothing(field(row, 'tighter1Percent')),
      looser: numberOrNothing(field(row, 'looser1Percent')),
    }))(at('constraints')),
    baselines: readBaselines(at('baselines')),
    grid: withDefault(at('grid'), list(readGrid), []).flatMap((entry) => entry ?? []),
    pareto: optional(at('pareto'), orNull(readPareto)) ?? undefined,
    layers: withDefault(at('layers'), list(readReason), []),
    chosen: withDefault(at('layers'), list(readShape), []),
    alternatives: withDefault(at('alternatives'), list(readAlternative), []),
    references: withDefault(at('references'), list(readReference), []),
    size: optional(at('size'), (size) => ({
      parent: readSize(field(size, 'parent')),
      child: readSize(field(size, 'child')),
    })),
    kv: withDefault(at('kv'), list(readKv), []),
    scenarios: withDefault(at('scenarios'), list(readScenario), []).flatMap((entry) => entry ?? []),
    parentLayers: withDefault(at('parentLayers'), list(readShape), []),
  };
}

function readBaselines(place: Place): Proof['baselines'] {
  const value = (name: string, member: string): number | undefined => {
    const entry = field(place, name);
    return isAbsent(entry) || entry.value === null ? undefined : number(field(entry, member));
  };
  const named: [string, number | undefined][] = [
    ['same experts in every layer, windows chosen as well as can be', value('homogeneous', 'value')],
    ['greedy', value('greedy', 'value')],
    ['best of random ones', value('random', 'best')],
    ['mean of random ones', value('random', 'mean')],
  ];
  return named.flatMap(([name, found]) => (found === undefined ? [] : [{ name, value: found }]));
}

function readGrid(place: Place): { multiple: number; value: number } | undefined {
  const value = orNull(number)(field(place, 'value'));
  return value === null ? undefined : { multiple: number(field(place, 'multiple')), value };
}

function readPareto(place: Place): NonNullable<Proof['pareto']> {
  return {
    constraint: text(field(place, 'constraint')),
    unit: text(field(place, 'unit')),
    points: list((point) => ({
      limit: number(field(point, 'limit')),
      value: number(field(point, 'value')),
      used: number(field(point, 'used')),
    }))(field(place, 'points')),
  };
}

function readReason(place: Place): Proof['layers'][number] {
  return {
    stability: numberOrNothing(field(place, 'stability')),
    pays: optional(field(place, 'pays'), orNull(text)) ?? undefined,
    keepingAll: numberOrNothing(field(place, 'keepingAll')),
    flipsTo: optional(field(place, 'flipsTo'), orNull(readShape)) ?? undefined,
  };
}

function readShape(place: Place): Shape {
  return { experts: number(field(place, 'experts')), window: orNull(number)(field(place, 'window')) };
}

function readAlternative(place: Place): Proof['alternatives'][number] {
  return { value: number(field(place, 'value')), layers: list(readShape)(field(place, 'layers')) };
}

function readReference(place: Place): Reference {
  return {
    name: text(field(place, 'name')),
    value: numberOrNothing(field(place, 'value')),
    missing: list(text)(field(place, 'missing')),
    gains: list(readGain)(field(place, 'gains')),
    sameBudget:
      optional(
        field(place, 'sameBudget'),
        orNull((best: Place) => ({
          value: number(field(best, 'value')),
          layersUnlike: number(field(best, 'layersUnlike')),
          gains: list(readGain)(field(best, 'gains')),
        })),
      ) ?? undefined,
  };
}

function readGain(place: Place): Reference['gains'][number] {
  return { name: text(field(place, 'name')), ratio: numberOrNothing(field(place, 'ratio')) };
}

function numberOrNothing(place: Place): number | undefined {
  return optional(place, orNull(number)) ?? undefined;
}

function readSize(place: Place): Size {
  return {
    parameters: number(field(place, 'parameters')),
    activeParameters: number(field(place, 'activeParameters')),
    bytes: number(field(place, 'bytes')),
    experts: number(field(place, 'experts')),
    fullAttentionLayers: number(field(place, 'fullAttentionLayers')),
  };
}

function readKv(place: Place): Proof['kv'][number] {
  return {
    context: number(field(place, 'context')),
    parent: number(field(place, 'parent')),
    child: number(field(place, 'child')),
  };
}

function readScenario(place: Place): Proof['scenarios'][number] | undefined {
  const ratio = orNull(number)(field(place, 'ratio'));
  if (ratio === null) return undefined;
  return {
    name: text(field(place, 'name')),
    hardware: text(field(place, 'hardware')),
    gpus: number(field(place, 'gpus')),
    ratio,
    mean: number(field(field(place, 'band'), 'mean')),
    worst: number(field(field(place, 'band'), 'worst')),
  };
}
