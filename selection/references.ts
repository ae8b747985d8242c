import type { Json } from '../core/canonical-json.ts';
import type { LayerShape, ModelShape } from '../costs/config.ts';
import { withLayers } from '../costs/geometry.ts';
import { bestThroughput } from '../costs/roofline.ts';
import { shown } from './choices.ts';
import { servingOf } from './constraints.ts';
import { isWhole, picksOf } from './distance.ts';
import { excess, tolerance, usage, valueOf, type Picks } from './problem.ts';
import { shapesOf, type Selection } from './select.ts';
import type { SelectSettings } from './settings.ts';
import type { Solver } from './solver.ts';

/** An architecture that somebody else chose, to set beside the selection. */
export interface Reference {
  name: string;
  layers: readonly LayerShape[];
}

export interface ReferenceInput {
  selection: Selection;
  model: ModelShape;
  settings: SelectSettings;
  timeLimitSeconds: number;
}

/**
 * What each reference costs and gains, and the best selection at the same budget: with the limit of every row
 * set to what the reference uses.
 */
export function compareReferences(
  solver: Solver,
  references: readonly Reference[],
  input: ReferenceInput,
): Json[] {
  return references.map(({ name, layers }) => {
    const picks = picksOf(input.selection.choices, layers, `reference ${name}`);
    const gains = gainsOf(layers, input);
    const shapes = layers.map(shapeLine);
    if (!isWhole(picks)) {
      const missing = layers.flatMap((layer, index) =>
        picks[index] === undefined ? [`layer ${index}: ${shown(layer)}`] : [],
      );
      return { name, layers: shapes, missing, value: null, rows: [], gains, sameBudget: null };
    }
    return {
      name,
      layers: shapes,
      missing: [],
      value: valueOf(input.selection.problem, picks),
      rows: rowLines(picks, input),
      gains,
      sameBudget: atSameBudget(solver, picks, input),
    };
  });
}

function atSameBudget(solver: Solver, picks: Picks, input: ReferenceInput): Json {
  const { problem } = input.selection;
  const rows = problem.rows.map((row) => ({ ...row, limit: usage(row, picks) }));
  const outcome = solver.solve({ ...problem, rows }, input.timeLimitSeconds);
  if (outcome.kind !== 'optimal' && outcome.kind !== 'feasible') return null;
  const layers = shapesOf(input.selection.choices, outcome.picks);
  return {
    kind: outcome.kind,
    value: outcome.value,
    layers: layers.map(shapeLine),
    layersUnlike: outcome.picks.filter((pick, layer) => pick !== picks[layer]).length,
    gains: gainsOf(layers, input),
  };
}

function rowLines(picks: Picks, { selection }: ReferenceInput): Json {
  return selection.problem.rows.map((row) => {
    const used = usage(row, picks);
    const { name, unit, sense, limit } = row;
    return { name, unit, sense, limit, used, isMet: excess(row, used) <= tolerance(row) };
  });
}

/** Predicted throughput in each scenario over the parent's, each at its own best batch. */
export function gainsOf(
  layers: readonly LayerShape[],
  { model, settings }: Pick<ReferenceInput, 'model' | 'settings'>,
): Json[] {
  const child = withLayers(model, layers);
  return settings.scenarios.map((scenario) => {
    const serving = servingOf(scenario, settings);
    const before = bestThroughput(model, { ...serving, kvElementBytes: scenario.parentKvElementBytes });
    const after = bestThroughput(child, serving);
    return {
      name: scenario.name,
      hardware: serving.hardware.name,
      gpus: scenario.gpus,
      parent: before === undefined ? null : { ...before },
      child: after === undefined ? null : { ...after },
      ratio:
        before === undefined || after === undefined ? null : after.tokensPerSecond / before.tokensPerSecond,
      band: { ...settings.engine.band },
    };
  });
}

function shapeLine({ experts, window }: LayerShape): Json {
  return { experts, window };
}
