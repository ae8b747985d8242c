import { describe, expect, it } from 'vitest';
import { readEngine, writeEngine } from '../../costs/engine-document.ts';
import { fittedEngine, predictionBand } from '../../costs/engine-model.ts';
import { fitEngine, predicted, type MeasuredPoint } from '../../costs/fit.ts';
import { parseMeasuredPoints } from '../../costs/measured-points.ts';
import { child, fixtureModel } from './published.ts';

const header =
  'name,config,hardware,gpus,tensor_parallel,expert_parallel,input_tokens,output_tokens,kv,concurrency,tokens_per_second';

function parse(...lines: string[]): MeasuredPoint[] {
  return parseMeasuredPoints(lines.join('\n'), 'points.csv', fixtureModel);
}

describe('measured points', () => {
  it('are read with their defaults, quotes and comments of a table program', () => {
    const [one, two] = parse(
      `\ufeff${header}`,
      '"long, ""slow""",gpt-oss-puzzle-88b,h100-sxm,8,,,65536,65536,fp8,,9300\r',
      '',
      'split,gpt-oss-120b,h200-sxm,8,2,2,4096,4096,bf16,64,1e4',
    );
    expect(one).toMatchObject({ name: 'long, "slow"', concurrency: undefined, uncertainty: 0.05 });
    expect(one?.serving).toMatchObject({ gpus: 8, expertParallel: 1, replicas: 1, kvElementBytes: 1 });
    expect(two?.serving).toMatchObject({ gpus: 2, expertParallel: 2, replicas: 4, kvElementBytes: 2 });
    expect(two).toMatchObject({ concurrency: 64, tokensPerSecond: 1e4 });
  });

  it('say every fault at once, each with its line', () => {
    const run = (): unknown =>
      parse(
        header,
        'a,gpt-oss-120b,h100,8,,,1,1,fp8,,1',
        'b,gpt-oss-120b,h100-sxm,8,3,,1,1,fp8,,1',
        'c,gpt-oss-120b,h100-sxm,8,4,2,1,1,fp8,,1',
        'd,gpt-oss-120b,h100-sxm,1.5,,,1,1,fp8,,-3',
      );
    expect(run).toThrow(
      [
        'points.csv:2: hardware: expected h100-sxm or h200-sxm or b200-sxm, found "h100"',
        'points.csv:3: tensor_parallel: expected a divisor of gpus 8, found "3"',
        'points.csv:4: expert_parallel: expected 1 or tensor_parallel 4, found "2"',
        'points.csv:5: gpus: expected a whole number, found "1.5"',
      ].join('\n'),
    );
  });

  it.each([
    ['', 'expected a header row'],
    [header, 'expected at least one point'],
    [header.replace('gpus', 'gpu'), 'no column gpus, unknown column gpu'],
    [`${header}\na,b`, 'points.csv:2: expected 11 cells, found 2'],
    [`${header}\na"b,c`, 'points.csv:2: a quote in the wrong place'],
  ])('refuse %j', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });
});

/** Points that an engine with other figures than the default's would give. */
function pointsOf(engine: typeof fittedEngine): MeasuredPoint[] {
  const lines = [1, 8].flatMap((gpus) =>
    [4096, 65536].flatMap((tokens) =>
      ['fp8', 'bf16'].map(
        (kv) => `${gpus} ${tokens} ${kv},gpt-oss-puzzle-88b,h100-sxm,${gpus},,,${tokens},${tokens},${kv},,1`,
      ),
    ),
  );
  return parse(header, ...lines).map((point) => ({
    ...point,
    tokensPerSecond: predicted(point, engine)?.tokensPerSecond ?? NaN,
  }));
}

describe('a fit to points of an engine of one’s own', () => {
  const engine = {
    ...fittedEngine,
    weightEfficiency: 0.9,
    flopEfficiency: 0.25,
    kvEfficiency: { 1: 0.7, 2: 1 },
  };

  const fit = fitEngine(pointsOf(engine).filter((_, index) => index % 2 === 0));

  it('finds that engine, and its band comes from points that were held out', () => {
    expect(fit.engine.kvEfficiency[1]).toBeCloseTo(0.7, 1);
    expect(fit.band.worst).toBeLessThan(predictionBand.worst);
    expect(fit.band.worst).toBeGreaterThanOrEqual(fit.band.mean);
    const worst = Math.max(
      ...fit.ratios.map(({ heldOut }) => Math.exp(Math.abs(Math.log(heldOut ?? NaN))) - 1),
    );
    expect(fit.band.worst).toBeCloseTo(worst, 12);
  });

  it('keeps the published band for a single point, which cannot be held out', () => {
    const fit = fitEngine(pointsOf(engine).slice(0, 1));
    expect(fit.band).toBe(predictionBand);
    expect(fit.ratios[0]?.heldOut).toBeNull();
  });

  it('holds a point at its concurrency, or at what fits of it', () => {
    const [point] = pointsOf(engine).slice(-1);
    if (point === undefined) throw new Error('expected a point');
    expect(predicted({ ...point, concurrency: 1 }, engine)?.batch).toBe(1);
    const full = predicted({ ...point, concurrency: 1e6 }, engine);
    expect(full?.batch).toBeLessThan(1e6);
    expect(full?.batch).toBeGreaterThan(1);
    expect(predicted({ ...point, model: child }, engine)?.tokensPerSecond).toBeGreaterThanOrEqual(
      full?.tokensPerSecond ?? NaN,
    );
  });

  it('is written so that a select stage reads the same engine', () => {
    const read = readEngine({ value: writeEngine(fit), path: 'engine' });
    expect(read.engine.weightEfficiency).toBeCloseTo(fit.engine.weightEfficiency, 3);
    expect(read.engine.reservedBytes / fit.engine.reservedBytes).toBeCloseTo(1, 3);
    expect(read.band.worst).toBeCloseTo(fit.band.worst, 3);
    expect(() => readEngine({ value: { ...writeEngine(fit), speed: 1 }, path: 'engine' })).toThrow(
      'unknown speed',
    );
  });
});
