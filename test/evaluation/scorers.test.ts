import { describe, expect, it } from 'vitest';
import { isCorrect, isScorable, parseScorerName } from '../../evaluation/scorers.ts';
import { readContract } from './golden.ts';

const cases = readContract('scorers.golden.json').records('cases');

describe('scorers', () => {
  it.each(
    cases.map(
      (each) => [JSON.stringify([each.raw('scorer'), each.raw('answer'), each.raw('final')]), each] as const,
    ),
  )('agree with the engine on %s', (_, each) => {
    const final = each.has('final') ? each.text('final') : null;
    expect(isCorrect(parseScorerName(each.text('scorer')), each.text('answer'), final)).toBe(
      each.boolean('correct'),
    );
  });

  it('tell an unknown scorer and what is known', () => {
    expect(() => parseScorerName('exakt')).toThrow('unknown scorer exakt; known: exact, number');
  });

  it('judge by a number only what is one', () => {
    expect([isScorable('number', '-16'), isScorable('number', 'fig'), isScorable('exact', 'fig')]).toEqual([
      true,
      false,
      true,
    ]);
  });
});
