import { Failure } from '../core/errors.ts';
import type { Conditions, Model } from './evidence.ts';

/** What differs between the conditions of two models, in words, with both values. */
export function unlikeConditions(one: Model, other: Model): string[] {
  const [a, b] = [one.conditions, other.conditions];
  const say = (what: string, mine: string | number, theirs: string | number): string[] =>
    mine === theirs ? [] : [`${what}: ${one.name} ${mine}, ${other.name} ${theirs}`];
  const theirs = new Map(b.cells.map((cell) => [`${cell.task} at ${cell.effort}`, cell]));
  const found = a.cells.flatMap((cell) => {
    const where = `${cell.task} at ${cell.effort}`;
    const twin = theirs.get(where);
    if (twin === undefined) return [];
    return [
      ...say(`cap of ${where}`, cell.maxNewTokens, twin.maxNewTokens),
      ...say(`version of ${where}`, cell.version, twin.version),
      ...say(`scorers of ${where}`, cell.scorers, twin.scorers),
      ...say(`questions of ${where}`, cell.questions, twin.questions),
    ];
  });
  return [
    ...say('tasks', namesOf(a), namesOf(b)),
    ...say('decoding', a.decoding, b.decoding),
    ...found,
    ...unlikeTimings(one, other),
  ];
}

/** Speeds compare only when they were measured alike, on machines of one kind. */
function unlikeTimings({ name, timing: a }: Model, { name: other, timing: b }: Model): string[] {
  if (a === undefined || b === undefined) return [];
  const pairs = [
    ['speed measured by', a.runner, b.runner],
    ['speed measured on', a.machine, b.machine],
  ] as const;
  return pairs.flatMap(([what, mine, theirs]) =>
    mine === theirs ? [] : [`${what}: ${name} ${mine ?? 'not told'}, ${other} ${theirs ?? 'not told'}`],
  );
}

function namesOf({ cells }: Conditions): string {
  return cells.map(({ task, effort }) => `${task} at ${effort}`).join(', ');
}

/**
 * Every pair must be alike: NOT_COMPARABLE with both values of all that differs. When unlike ones are allowed, what
 * differs is returned for the reader.
 */
export function requireAlike(pairs: readonly (readonly [Model, Model])[], isAllowed: boolean): string[] {
  const found = [...new Set(pairs.flatMap(([one, other]) => unlikeConditions(one, other)))];
  if (found.length === 0 || isAllowed) return found;
  throw new Failure(
    'NOT_COMPARABLE',
    `results made under unlike conditions (unlike: allow compares them all the same)\n  ${found.slice(0, 20).join('\n  ')}`,
  );
}
