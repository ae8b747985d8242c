import { readFileSync } from 'node:fs';
import type { Json } from '../../core/canonical-json.ts';
import { parseModelConfig, type ModelShape } from '../../costs/config.ts';
import type { MeasuredPoint } from '../../costs/fit.ts';
import { hardware } from '../../costs/hardware.ts';

export function readConfig(name: string): Record<string, Json> {
  const url = new URL(`../fixtures/configs/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, 'utf8')) as Record<string, Json>;
}

export function fixtureModel(name: string): ModelShape {
  return parseModelConfig({ value: readConfig(name), path: `${name}.json` });
}

export const parent = fixtureModel('gpt-oss-120b');
export const child = fixtureModel('gpt-oss-puzzle-88b');

/** Table 1 of arXiv 2602.11937: thousands of tokens a second on H100, parent with bf16 cache, child with FP8. */
export const published = [
  { name: 'node 64K', gpus: 8, tokens: 65536, parent: 5.7, child: 9.3, digits: 0.1, ratio: 1.63 },
  { name: 'node 4K', gpus: 8, tokens: 4096, parent: 29.6, child: 36.1, digits: 0.1, ratio: 1.22 },
  { name: 'one GPU 64K', gpus: 1, tokens: 65536, parent: 0.3, child: 0.8, digits: 0.1, ratio: 2.82 },
  { name: 'one GPU 4K', gpus: 1, tokens: 4096, parent: 1.4, child: 3.3, digits: 0.1, ratio: 2.44 },
] as const;

export type Published = (typeof published)[number];

export function servingAt(point: Published, kvElementBytes: 1 | 2): MeasuredPoint['serving'] {
  return {
    hardware: hardware['h100-sxm'],
    gpus: point.gpus,
    expertParallel: 1,
    replicas: 1,
    inputTokens: point.tokens,
    outputTokens: point.tokens,
    kvElementBytes,
  };
}

/** A point says two things: what the child reaches, and the published ratio, which is the more exact. */
export function measured(point: Published): MeasuredPoint {
  return {
    name: point.name,
    model: child,
    serving: servingAt(point, 1),
    tokensPerSecond: point.child * 1000,
    uncertainty: point.digits / 2 / point.child,
    over: {
      model: parent,
      serving: servingAt(point, 2),
      ratio: point.ratio,
      uncertainty: 0.005 / point.ratio,
    },
  };
}
