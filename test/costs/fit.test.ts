import { describe, expect, it } from 'vitest';
import { fittedEngine, predictionBand } from '../../costs/engine-model.ts';
import { engineNearest, predicted } from '../../costs/fit.ts';
import { minimise } from '../../costs/minimise.ts';
import { bestThroughput } from '../../costs/roofline.ts';
import { child, measured, parent, published, servingAt, type Published } from './published.ts';

function predictedRatio(point: Published, engine: typeof fittedEngine): number {
  const after = bestThroughput(child, { ...servingAt(point, 1), engine });
  const before = bestThroughput(parent, { ...servingAt(point, 2), engine });
  return (after?.tokensPerSecond ?? NaN) / (before?.tokensPerSecond ?? NaN);
}

describe('the published ratios, each held out of the fit that predicts it', () => {
  it('are predicted within the stated band, over every split of four points in two and two', () => {
    const errors: { split: string; held: string; error: number }[] = [];
    for (const [index, first] of published.entries()) {
      for (const second of published.slice(index + 1)) {
        const engine = engineNearest([measured(first), measured(second)]);
        for (const held of published.filter((point) => point !== first && point !== second)) {
          const error = Math.abs(predictedRatio(held, engine) / held.ratio - 1);
          errors.push({ split: `${first.name} + ${second.name}`, held: held.name, error });
        }
      }
    }
    const mean = errors.reduce((sum, { error }) => sum + error, 0) / errors.length;
    const worst = Math.max(...errors.map(({ error }) => error));
    expect(errors).toHaveLength(12);
    // The reference's own model: 15 % on average, 34 % at worst.
    expect(mean).toBeLessThanOrEqual(0.15);
    expect(worst).toBeLessThanOrEqual(0.34);
    expect(mean).toBeCloseTo(predictionBand.mean, 2);
    expect(worst).toBeLessThanOrEqual(predictionBand.worst);
    expect(worst).toBeGreaterThan(predictionBand.worst - 0.02);
  });

  it('are all four behind the engine that is used by default', () => {
    const engine = engineNearest(published.map(measured));
    expect(fittedEngine.weightEfficiency).toBeCloseTo(engine.weightEfficiency, 2);
    expect(fittedEngine.kvEfficiency[1]).toBeCloseTo(engine.kvEfficiency[1], 2);
    expect(fittedEngine.flopEfficiency).toBeCloseTo(engine.flopEfficiency, 2);
    expect(fittedEngine.reservedBytes / 2 ** 30).toBeCloseTo(engine.reservedBytes / 2 ** 30, 1);
  });
});

describe('a fit', () => {
  it('finds the engine that made the points', () => {
    const points = published.flatMap((point) =>
      [parent, child].map((model, index) => {
        const serving = servingAt(point, index === 0 ? 2 : 1);
        const tokensPerSecond =
          bestThroughput(model, { ...serving, engine: fittedEngine })?.tokensPerSecond ?? NaN;
        return { name: point.name, model, serving, tokensPerSecond, uncertainty: 0.001 };
      }),
    );
    const engine = engineNearest(points);
    expect(engine.kvEfficiency[1]).toBeCloseTo(fittedEngine.kvEfficiency[1], 1);
    for (const point of points) {
      const ratio = (predicted(point, engine)?.tokensPerSecond ?? NaN) / point.tokensPerSecond;
      expect(Math.abs(ratio - 1)).toBeLessThan(0.1);
    }
  });

  it('rests on a search that finds the bottom of a curved valley', () => {
    const valley = ([x = 0, y = 0]: readonly number[]): number => (1 - x) ** 2 + 100 * (y - x * x) ** 2;
    const { point } = minimise(valley, [-1.2, 1], { step: 0.5, steps: 300 });
    expect(point[0]).toBeCloseTo(1, 4);
    expect(point[1]).toBeCloseTo(1, 4);
  });
});
