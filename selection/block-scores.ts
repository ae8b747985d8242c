import {
  expectSchema,
  field,
  flag,
  integerFrom,
  isAbsent,
  list,
  number,
  optional,
  orNull,
  wrong,
  type Place,
} from '../costs/json-reader.ts';

/** What replacing one layer costs, by choice; lower is better, and keeping the parent's is 0. */
export interface LayerScores {
  layer: number;
  experts: number;
  window: number | null;
  expertChoices: { experts: number; score: number; standardError: number }[];
  windowChoices: { window: number | null; score: number; standardError: number }[];
  longContext: LongContextScore[];
}

export interface LongContextScore {
  window: number | null;
  /** Accuracy of the parent minus that of the parent with this one layer windowed, 0 to 1. */
  accuracyLoss: number;
  standardError: number;
  /** The loss is within its noise. */
  isUndecided: boolean;
}

const count = integerFrom(1);

export function parseBlockScores(place: Place): LayerScores[] {
  expectSchema(place, 'fretsaw/block-scores/v1');
  const layers = list(readLayer)(field(place, 'layers'));
  if (layers.length === 0) wrong(field(place, 'layers'), 'at least one layer', 'none');
  for (const [index, layer] of layers.entries()) {
    if (layer.layer !== index)
      wrong(field(place, 'layers'), `layer ${index} at place ${index}`, `layer ${layer.layer}`);
  }
  return layers;
}

function readLayer(place: Place): LayerScores {
  const attention = field(place, 'attention').value;
  const window = orNull(count)(field(place, 'window'));
  if ((attention === 'full') !== (window === null)) {
    wrong(field(place, 'window'), `a window that agrees with attention ${JSON.stringify(attention)}`);
  }
  return {
    layer: integerFrom(0)(field(place, 'layer')),
    experts: count(field(place, 'experts')),
    window,
    expertChoices: list((choice) => ({ experts: count(field(choice, 'experts')), ...readScore(choice) }))(
      field(place, 'expert_choices'),
    ),
    windowChoices: list((choice) => ({
      window: orNull(count)(field(choice, 'window')),
      ...readScore(choice),
    }))(field(place, 'window_choices')),
    longContext: optional(longContextPlace(place), list(readLongContext)) ?? [],
  };
}

/** A score that JSON cannot hold (NaN, infinity) is written as text or null; the solver's check names its layer. */
function readScore(place: Place): { score: number; standardError: number } {
  const score = field(place, 'score');
  return {
    score:
      score.value === null || typeof score.value === 'string' ? Number(score.value ?? NaN) : number(score),
    standardError: optional(field(place, 'standard_error'), orNull(number)) ?? 0,
  };
}

function longContextPlace(place: Place): Place {
  const found = field(place, 'long_context');
  return isAbsent(found) || found.value === null ? { ...found, value: undefined } : found;
}

function readLongContext(place: Place): LongContextScore {
  return {
    window: orNull(count)(field(place, 'window')),
    accuracyLoss: number(field(place, 'accuracy_loss')),
    standardError: optional(field(place, 'standard_error'), orNull(number)) ?? 0,
    isUndecided: optional(field(place, 'undecided'), flag) ?? false,
  };
}
