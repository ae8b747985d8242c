import { Failure } from '../core/errors.ts';
import type { LayerShape } from '../costs/config.ts';
import type { ChoiceProblem, Picks, Row } from './problem.ts';

/** At most (layers - distance) layers may be as they were: a Hamming distance. */
export function differsFrom(
  problem: Pick<ChoiceProblem, 'scores'>,
  picks: readonly (number | undefined)[],
  given: { name: string; distance: number },
): Row {
  return {
    name: `differs from ${given.name}`,
    unit: 'layers alike',
    sense: 'at_most',
    limit: picks.length - given.distance,
    costs: problem.scores.map((scores, layer) =>
      scores.map((_, choice) => (choice === picks[layer] ? 1 : 0)),
    ),
  };
}

/** The place of each layer's shape among its choices; undefined where it is none of them. */
export function picksOf(
  choices: readonly (readonly LayerShape[])[],
  layers: readonly LayerShape[],
  name: string,
): (number | undefined)[] {
  if (layers.length !== choices.length) {
    throw new Failure('BAD_INPUT', `${name}: expected ${choices.length} layers, found ${layers.length}`);
  }
  return layers.map((layer, index) => {
    const at = (choices[index] ?? []).findIndex(
      (choice) => choice.experts === layer.experts && choice.window === layer.window,
    );
    return at < 0 ? undefined : at;
  });
}

export function isWhole(picks: readonly (number | undefined)[]): picks is Picks {
  return !picks.includes(undefined);
}
