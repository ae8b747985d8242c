import type { SweepPoint } from './sweep.ts';

/** What all points of a measurement have in common. */
export interface PointsOf {
  /** Begins every point's name. */
  name: string;
  /** config.json of the model, relative to the CSV file. */
  config: string;
  /** As the cost model calls it, e.g. `h100-sxm`. */
  hardware: string;
  hasExpertParallel: boolean;
  inputTokens: number;
  outputTokens: number;
  kv: string;
}

const columns = [
  ...['name', 'config', 'hardware', 'gpus', 'tensor_parallel', 'expert_parallel'],
  ...['input_tokens', 'output_tokens', 'kv', 'concurrency', 'tokens_per_second', 'uncertainty'],
];

/** Below this the clock and the machine's mood weigh more than the interval. */
const leastUncertainty = 0.01;
/** Of a single repeat, as `fretsaw costs fit` takes it where nothing is said. */
const uncertaintyOfOne = 0.05;

/** The points of a sweep as `fretsaw costs fit` reads them (RFC 4180): one a row; concurrency is that of one replica. */
export function pointsCsv(points: readonly SweepPoint[], of: PointsOf): string {
  const rows = points.map((point) => {
    const { tensorParallel, replicas, concurrency, tokensPerSecond } = point;
    return [
      `${of.name} tp${tensorParallel} c${concurrency}`,
      of.config,
      of.hardware,
      tensorParallel * replicas,
      tensorParallel,
      of.hasExpertParallel ? tensorParallel : 1,
      of.inputTokens,
      of.outputTokens,
      of.kv,
      Math.max(1, Math.round(concurrency / replicas)),
      Number(tokensPerSecond.mean.toPrecision(6)),
      Number(uncertaintyOf(point).toPrecision(3)),
    ];
  });
  return [columns, ...rows].map((row) => `${row.map(cell).join(',')}\n`).join('');
}

/** Half the 95 % interval, as a share. */
function uncertaintyOf({ tokensPerSecond: { mean, interval } }: SweepPoint): number {
  return interval === null
    ? uncertaintyOfOne
    : Math.max(leastUncertainty, (interval[1] - interval[0]) / 2 / mean);
}

function cell(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
