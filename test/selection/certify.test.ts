import { beforeAll, describe, expect, it } from 'vitest';
import type { Json } from '../../core/canonical-json.ts';
import { parseModelConfig } from '../../costs/config.ts';
import { certify, type Certified } from '../../selection/certify.ts';
import { makeProof } from '../../selection/proof.ts';
import { select } from '../../selection/select.ts';
import { parseSelectSettings } from '../../selection/settings.ts';
import { openSolver } from '../../selection/solver.ts';
import { parsedScores, rehearsalConfig, scoresDocument } from './fixture.ts';

interface Document {
  value: number;
  lpBound: number;
  multipliers: number[];
  problem: { picks: number[]; scores: number[][]; rows: { name: string; limit: number }[] };
}

let proof: string;
beforeAll(async () => {
  const solver = await openSolver(() => performance.now());
  const settings = parseSelectSettings({
    value: {
      experts_kept_max: 0.75,
      full_attention_windowed: 2,
      noise_samples: 0,
      pareto_points: 0,
      random_samples: 0,
    },
    path: 'with',
  });
  const model = parseModelConfig({ value: rehearsalConfig, path: 'config.json' });
  const selection = select(solver, { scores: parsedScores(scoresDocument()), model, settings });
  proof = JSON.stringify(makeProof(solver, { selection, model, settings }));
});

function certifyChanged(change: (document: Document) => void): Certified {
  const document = JSON.parse(proof) as Document;
  change(document);
  return certify({ value: document as unknown as Json, path: 'proof.json' });
}

describe('certify', () => {
  it('confirms a proof from its own numbers', () => {
    const { check, fault } = certifyChanged(() => undefined);
    expect(fault).toBeNull();
    expect(check.optimality).toBe('proven');
  });

  it.each([
    ['a better score than it has', (d: Document) => void (d.value -= 0.01), 'the score is'],
    [
      'a bound that its multipliers do not give',
      (d: Document) => void (d.lpBound += 0.01),
      'the multipliers prove the bound',
    ],
    ['another selection', (d: Document) => void d.problem.picks.fill(0), 'breaks a constraint'],
    [
      'a tighter constraint than was solved',
      (d: Document) => void (d.problem.rows[0] = { ...d.problem.rows[0], name: 'x', limit: 0.5 }),
      'breaks a constraint',
    ],
  ])('refuses %s', (_, change, fault) => {
    expect(certifyChanged(change).fault).toContain(fault);
  });

  it('refuses a selection that is feasible and not the best', () => {
    const { fault } = certifyChanged((document) => {
      const { picks, scores } = document.problem;
      const layer = scores.findIndex(
        (options, index) => picks[index] !== options.length - 1 && (index % 2 === 0 || options.length === 4),
      );
      const worse = (picks[layer] ?? 0) + 1;
      document.value += (scores[layer]?.[worse] ?? 0) - (scores[layer]?.[picks[layer] ?? 0] ?? 0);
      picks[layer] = worse;
    });
    expect(fault).toContain('a better selection exists');
  });

  it('refuses multipliers of the wrong sign', () => {
    expect(() => certifyChanged((document) => void (document.multipliers[0] = -1))).toThrow(
      'negative multiplier',
    );
  });
});
