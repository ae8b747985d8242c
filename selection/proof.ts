import type { Json } from '../core/canonical-json.ts';
import type { ModelShape } from '../costs/config.ts';
import { gibibyte, kvBytes, modelSize, withLayers } from '../costs/geometry.ts';
import { findBaselines } from './baselines.ts';
import { checkCertificate } from './certificate.ts';
import { excess, tolerance, usage } from './problem.ts';
import { compareReferences, gainsOf, type Reference } from './references.ts';
import { layersOf, type Selection } from './select.ts';
import {
  alternatives,
  gridPrices,
  keepingAll,
  layerReasons,
  paretoFrontier,
  shadowPrices,
  stabilityUnderNoise,
} from './sensitivity.ts';
import type { SelectSettings } from './settings.ts';
import type { Solver } from './solver.ts';

export interface ProofInput {
  selection: Selection;
  model: ModelShape;
  settings: SelectSettings;
  /** Architectures to set beside the selection. */
  references?: readonly Reference[];
}

/**
 * How the selection was proven, what it gains over simpler ways, and what it would take to change it.
 * No times: the same question gives the same bytes, and what shows none of its figures is not made again.
 */
export function makeProof(solver: Solver, input: ProofInput): Json {
  const { selection, model, settings } = input;
  const { problem, picks } = selection;
  const timeLimitSeconds = Math.min(settings.timeLimitSeconds, reportSeconds);
  const relaxation = solver.relax(problem);
  const multipliers = relaxation.kind === 'solved' ? relaxation.multipliers : problem.rows.map(() => 0);
  const check = checkCertificate(problem, picks, { multipliers, maximumNodes: 200_000 });
  const experts = selection.choices.map((options) => options.map((choice) => choice.experts));
  // Noise is that of scores: where something else is minimised in the end, there is none.
  const isNoisy = settings.objectives.at(-1)?.minimise === 'score';
  const standardErrors = selection.choices.map((options) =>
    options.map((choice) => (isNoisy ? choice.standardError : 0)),
  );
  const noise = {
    picks,
    standardErrors,
    samples: settings.noiseSamples,
    seed: settings.seed,
    timeLimitSeconds,
  };
  const stability = stabilityUnderNoise(solver, problem, noise);
  const keeping = keepingAll(solver, problem, { picks, value: selection.value, timeLimitSeconds });
  const prices = shadowPrices(solver, problem, { multipliers, timeLimitSeconds });
  return {
    schema: 'fretsaw/selection-proof/v1',
    status: selection.kind,
    value: selection.value,
    objectives: selection.objectives,
    bound: Math.max(selection.bound, check.bound),
    lpBound: check.bound,
    gap: selection.value - Math.max(selection.bound, check.bound),
    multipliers,
    certificate: {
      optimality: check.optimality,
      excluded: check.excluded,
      choices: check.choices,
      better: better(check.better),
    },
    layers: layerReasons(problem, picks, {
      multipliers,
      stability,
      keepingAll: keeping,
    }).map((reason, layer) => ({
      ...reason,
      flipsTo: reason.flipsTo === null ? null : shapeOf(selection, layer, reason.flipsTo),
      experts: layersOf(selection)[layer]?.experts ?? 0,
      window: layersOf(selection)[layer]?.window ?? null,
    })),
    constraints: problem.rows.map((row, index) => constraintLine(row, { picks, price: prices[index] })),
    baselines: baselinesLine(solver, { ...input, experts, timeLimitSeconds }),
    grid: gridPrices(solver, problem, { experts, multiples: multiplesOf(settings), timeLimitSeconds }),
    pareto: paretoLine(solver, { ...input, timeLimitSeconds }),
    alternatives: alternatives(solver, problem, { picks, ...settings.alternatives, timeLimitSeconds }).map(
      ({ picks: other, value }) => ({
        value,
        layers: other.map((pick, layer) => shapeOf(selection, layer, pick)),
      }),
    ),
    batches: selection.batches,
    tried: selection.tried,
    size: sizeLine(input),
    kv: kvLine(input),
    parentLayers: model.layers.map((layer) => ({ experts: layer.experts, window: layer.window })),
    scenarios: gainsOf(layersOf(selection), input),
    references: compareReferences(solver, input.references ?? [], { ...input, timeLimitSeconds }),
    problem: problemDocument(selection),
  };
}

/** Seconds a single re-solve of the report may take. */
const reportSeconds = 10;

type Row = Selection['problem']['rows'][number];

function constraintLine(
  row: Row,
  given: { picks: Selection['picks']; price: ReturnType<typeof shadowPrices>[number] | undefined },
): Json {
  const used = usage(row, given.picks);
  return {
    name: row.name,
    unit: row.unit,
    sense: row.sense,
    limit: row.limit,
    used,
    slack: row.sense === 'at_least' ? used - row.limit : row.limit - used,
    isMet: excess(row, used) <= tolerance(row),
    shadowPrice: given.price?.multiplier ?? 0,
    tighter1Percent: given.price?.tighter ?? null,
    looser1Percent: given.price?.looser ?? null,
  };
}

function baselinesLine(
  solver: Solver,
  given: ProofInput & { experts: readonly (readonly number[])[]; timeLimitSeconds: number },
): Json {
  const { selection, settings } = given;
  const found = findBaselines(solver, {
    problem: selection.problem,
    experts: given.experts,
    randomSamples: settings.randomSamples,
    seed: settings.seed,
    timeLimitSeconds: given.timeLimitSeconds,
  });
  return {
    homogeneous: found.homogeneous === null ? null : { ...found.homogeneous },
    greedy: found.greedy === null ? null : { value: found.greedy.value },
    random: found.random === null ? null : { ...found.random },
  };
}

function paretoLine(solver: Solver, given: ProofInput & { timeLimitSeconds: number }): Json {
  const { selection, settings } = given;
  const row =
    selection.problem.rows.find((candidate) => candidate.name === 'experts_kept_max') ??
    selection.problem.rows[0];
  if (row === undefined || settings.paretoPoints === 0) return null;
  const frontier = paretoFrontier(solver, selection.problem, {
    row,
    points: settings.paretoPoints,
    timeLimitSeconds: given.timeLimitSeconds,
  });
  return { constraint: row.name, unit: row.unit, points: frontier.map((point) => ({ ...point })) };
}

function multiplesOf(settings: SelectSettings): number[] {
  return [1, 2, 4, 8].map((factor) => factor * settings.expertMultiple);
}

function sizeLine({ selection, model }: ProofInput): Json {
  const line = (shape: ModelShape): Json => {
    const size = modelSize(shape);
    return { ...size, weightGib: size.bytes / gibibyte };
  };
  return { parent: line(model), child: line(withLayers(model, layersOf(selection))) };
}

/** Bytes of one sequence's cache in bf16, at lengths that serving scenarios have. */
function kvLine({ selection, model, settings }: ProofInput): Json {
  const child = withLayers(model, layersOf(selection));
  const asked = settings.scenarios.map((scenario) => scenario.inputTokens + scenario.outputTokens);
  const contexts = [...new Set([...asked, 8192, 131072])].sort((a, b) => a - b);
  return contexts.map((context) => ({
    context,
    parent: kvBytes(model, context, 2),
    child: kvBytes(child, context, 2),
  }));
}

/** The numbers that the certificate is about, so that it can be re-checked from this document alone. */
function problemDocument({ problem, picks }: Selection): Json {
  return {
    layers: problem.layers,
    scores: problem.scores,
    rows: problem.rows.map((row) => ({ ...row })),
    picks,
  };
}

function better(found: ReturnType<typeof checkCertificate>['better']): Json {
  return found === null ? null : { value: found.value, picks: found.picks };
}

function shapeOf(selection: Selection, layer: number, pick: number): Json {
  const choice = selection.choices[layer]?.[pick];
  return choice === undefined ? null : { experts: choice.experts, window: choice.window };
}
