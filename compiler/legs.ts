import type { Reference } from './references.ts';
import type { Dimension } from './spec.ts';
import { suggestion } from './suggest.ts';
import type { Faults, Place, ScalarNode } from './tree.ts';

/** One execution of a stage: a value for each of its dimensions. */
export interface Leg {
  /** `evaluate[effort=low]`; the stage's own name when it has no dimensions. */
  name: string;
  values: ReadonlyMap<string, ScalarNode>;
}

export interface StageLegs {
  stage: string;
  /** The stage's own matrix first, then the dimensions of the spec's matrix that it depends on. */
  dimensions: readonly Dimension[];
  /**
   * What `[*]` runs over: the stage's own matrix, so that a spec means the same when a study lays a
   * matrix over it; for a stage without one, the spec's.
   */
  starred: ReadonlySet<string>;
  legs: readonly Leg[];
  byName: ReadonlyMap<string, Leg>;
}

/** All combinations of the stage's own dimensions and those shared with the spec, the last turning fastest. */
export function expandLegs(
  stage: string,
  own: readonly Dimension[],
  shared: readonly Dimension[],
): StageLegs {
  const dimensions = [...own, ...shared];
  const starred = new Set((own.length > 0 ? own : shared).map(({ name }) => name));
  let combinations: [string, ScalarNode][][] = [[]];
  for (const { name, values } of dimensions) {
    combinations = combinations.flatMap((before) =>
      values.map((value) => [...before, [name, value] as [string, ScalarNode]]),
    );
  }
  const legs = combinations.map((pairs) => ({ name: legName(stage, pairs), values: new Map(pairs) }));
  return { stage, dimensions, starred, legs, byName: new Map(legs.map((leg) => [leg.name, leg])) };
}

export function labelOf(value: ScalarNode): string {
  return String(value.value);
}

function legName(stage: string, pairs: readonly [string, ScalarNode][]): string {
  if (pairs.length === 0) return stage;
  return `${stage}[${pairs.map(([name, value]) => `${name}=${labelOf(value)}`).join(',')}]`;
}

/** What a reference means at one leg: one leg, or (with a star) many in matrix order. */
export interface Picked {
  isMany: boolean;
  legs: readonly {
    leg: Leg;
    /** `effort=low`: what the star ran over, for names in a map. */ label: string;
  }[];
}

export interface Picking {
  reference: Reference;
  /** The leg that refers. */
  at: Leg;
  place: Place;
  faults: Faults;
}

/**
 * Picks legs of `target`. A dimension is picked by name, by star, or, said nothing, by the value that
 * the referring leg has for the same dimension.
 */
export function pickLegs(target: StageLegs, picking: Picking): Picked | undefined {
  const { reference, place, faults } = picking;
  const known = target.dimensions.map(({ name }) => name);
  const unknown = [...reference.selectors.keys()].filter((name) => !known.includes(name));
  for (const name of unknown) {
    const hint = known.length === 0 ? `${target.stage} has no matrix` : suggestion(name, known);
    faults.add('UNKNOWN_LEG', place, { message: `${target.stage} has no dimension ${name}`, hint });
  }
  if (reference.isAll && known.length === 0) {
    const hint = `say ${target.stage}${reference.output === undefined ? '' : `.${reference.output}`}`;
    faults.add('UNKNOWN_LEG', place, { message: `${target.stage} has no matrix, so no [*]`, hint });
    return undefined;
  }
  const choices = target.dimensions.map((dimension) => chooseValues(dimension, target, picking));
  if (unknown.length > 0 || choices.some((choice) => choice === undefined)) return undefined;
  return combine(target, choices as Choice[]);
}

interface Choice {
  dimension: Dimension;
  isStar: boolean;
  labels: readonly string[];
}

function chooseValues(dimension: Dimension, target: StageLegs, picking: Picking): Choice | undefined {
  const { reference, at, place, faults } = picking;
  const all = dimension.values.map(labelOf);
  const isStarred = reference.isAll && target.starred.has(dimension.name);
  const selected = isStarred ? '*' : reference.selectors.get(dimension.name);
  if (selected === '*') return { dimension, isStar: true, labels: all };
  const own = at.values.get(dimension.name);
  const wanted = selected ?? (own === undefined ? undefined : labelOf(own));
  if (wanted === undefined) {
    const output = reference.output === undefined ? '' : `.${reference.output}`;
    const first = `${target.stage}[${dimension.name}=${all[0] ?? ''}]${output}`;
    const message = `${target.stage} has legs for ${dimension.name} ${all.join(', ')}: which one?`;
    faults.add('LEG_NEEDED', place, {
      message,
      hint: `say ${first}, or ${target.stage}[*]${output} for all`,
    });
    return undefined;
  }
  if (!all.includes(wanted)) {
    const message = `${target.stage} has no leg ${dimension.name}=${wanted}`;
    faults.add('UNKNOWN_LEG', place, { message, hint: suggestion(wanted, all) });
    return undefined;
  }
  return { dimension, isStar: false, labels: [wanted] };
}

function combine(target: StageLegs, choices: readonly Choice[]): Picked {
  let found: { parts: string[]; star: string[] }[] = [{ parts: [], star: [] }];
  for (const { dimension, isStar, labels } of choices) {
    found = found.flatMap(({ parts, star }) =>
      labels.map((label) => {
        const part = `${dimension.name}=${label}`;
        return { parts: [...parts, part], star: isStar ? [...star, part] : star };
      }),
    );
  }
  const legs = found.flatMap(({ parts, star }) => {
    const leg = target.byName.get(parts.length === 0 ? target.stage : `${target.stage}[${parts.join(',')}]`);
    return leg === undefined ? [] : [{ leg, label: star.join(',') }];
  });
  return { isMany: choices.some(({ isStar }) => isStar), legs };
}
