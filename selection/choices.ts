import { Failure } from '../core/errors.ts';
import type { LayerShape, ModelShape } from '../costs/config.ts';
import type { LayerScores } from './block-scores.ts';
import type { ChoiceRule, SelectSettings } from './settings.ts';

/** One option of one layer, and what is known of its price in accuracy. */
export interface Choice extends LayerShape {
  score: number;
  /** Of the score, one standard deviation. */
  standardError: number;
}

/**
 * The options of every layer that the settings leave, nearest to the parent first: widest attention,
 * then most experts. A layer without one is an error that names the rule which took the last.
 */
export function listChoices(
  scores: readonly LayerScores[],
  model: ModelShape,
  settings: SelectSettings,
): Choice[][] {
  checkAgainstModel(scores, model);
  return scores.map((layer) => {
    let left = distinct(crossed(layer, settings.longContextWeight));
    if (left.length === 0) throw new Failure('BAD_INPUT', `layer ${layer.layer}: the scores name no choice`);
    for (const rule of rulesFor(layer, settings, model.expertsPerToken)) {
      const kept = left.filter(rule.keeps);
      if (kept.length === 0) {
        const had = left.map(shown).join(', ');
        throw new Failure(
          'BAD_INPUT',
          `layer ${layer.layer}: no choice is left; ${rule.name} takes the last of ${had}`,
        );
      }
      left = kept;
    }
    return left.sort((a, b) => reach(b) - reach(a) || b.experts - a.experts);
  });
}

/** Scores add up over layers, and within one over experts, window and lost long-context accuracy. */
function crossed(layer: LayerScores, longContextWeight: number): Choice[] {
  return windowsOf(layer).flatMap((attention) => {
    const long = layer.longContext.find((entry) => entry.window === attention.window);
    return layer.expertChoices.map((choice) => ({
      experts: choice.experts,
      window: attention.window,
      score: choice.score + attention.score + longContextWeight * (long?.accuracyLoss ?? 0),
      standardError: Math.hypot(
        choice.standardError,
        attention.standardError,
        longContextWeight * (long?.standardError ?? 0),
      ),
    }));
  });
}

/** A choice named twice (all experts are often both scored and given as 0) counts with its lower score. */
function distinct(choices: readonly Choice[]): Choice[] {
  return choices.filter(
    (choice, index) =>
      !choices.some(
        (other, place) =>
          other.experts === choice.experts &&
          other.window === choice.window &&
          (other.score < choice.score || (other.score === choice.score && place < index)),
      ),
  );
}

/** The parent's own window is always a choice, and changes nothing. */
function windowsOf(layer: LayerScores): LayerScores['windowChoices'] {
  const hasOwn = layer.windowChoices.some((choice) => choice.window === layer.window);
  return hasOwn
    ? layer.windowChoices
    : [{ window: layer.window, score: 0, standardError: 0 }, ...layer.windowChoices];
}

interface Rule {
  name: string;
  keeps: (choice: Choice) => boolean;
}

function rulesFor(layer: LayerScores, settings: SelectSettings, expertsPerToken: number): Rule[] {
  const { expertMultiple, expertCounts, windows } = settings;
  const rules: Rule[] = [
    { name: `num_experts_per_tok ${expertsPerToken}`, keeps: (choice) => choice.experts >= expertsPerToken },
    { name: `expert_multiple ${expertMultiple}`, keeps: (choice) => choice.experts % expertMultiple === 0 },
  ];
  const { min, max } = settings.expertsPerLayer;
  rules.push({
    name: `experts_per_layer ${min} to ${max}`,
    keeps: ({ experts }) => experts >= min && experts <= max,
  });
  for (const { name, expertParallel } of settings.scenarios) {
    if (expertParallel === 1) continue;
    rules.push({
      name: `expert_parallel ${expertParallel} (${name})`,
      keeps: (choice) => choice.experts % expertParallel === 0,
    });
  }
  if (expertCounts !== undefined) {
    rules.push({ name: 'expert_counts', keeps: (choice) => expertCounts.includes(choice.experts) });
  }
  if (windows !== undefined) {
    rules.push({
      name: 'windows',
      keeps: ({ window }) => window === layer.window || windows.includes(window),
    });
  }
  const here = (rule: ChoiceRule): boolean => rule.layer === undefined || rule.layer === layer.layer;
  for (const rule of settings.force.filter(here))
    rules.push({ name: 'force', keeps: (choice) => matches(rule, choice) });
  for (const rule of settings.forbid.filter(here))
    rules.push({ name: 'forbid', keeps: (choice) => !matches(rule, choice) });
  return rules;
}

function matches(rule: ChoiceRule, choice: Choice): boolean {
  const sameExperts = rule.experts === undefined || rule.experts === choice.experts;
  return sameExperts && (rule.window === undefined || rule.window === choice.window);
}

function checkAgainstModel(scores: readonly LayerScores[], model: ModelShape): void {
  if (scores.length !== model.layers.length) {
    throw new Failure(
      'BAD_INPUT',
      `scores: expected ${model.layers.length} layers as the model has, found ${scores.length}`,
    );
  }
  for (const [index, layer] of scores.entries()) {
    const own = model.layers[index];
    if (own?.experts !== layer.experts || own.window !== layer.window) {
      throw new Failure('BAD_INPUT', `scores: layer ${index} is not the model's: ${shown(layer)}`);
    }
    const more = layer.expertChoices.find((choice) => choice.experts > layer.experts);
    if (more !== undefined) {
      throw new Failure(
        'BAD_INPUT',
        `scores: layer ${index} has ${layer.experts} experts, a choice keeps ${more.experts}`,
      );
    }
  }
}

function reach(choice: LayerShape): number {
  return choice.window ?? Infinity;
}

export function shown(choice: LayerShape): string {
  return `${choice.experts} experts, ${choice.window === null ? 'full attention' : `window ${choice.window}`}`;
}
