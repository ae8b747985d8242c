import type { Answer } from './evidence.ts';

/** What a question's answers give; means over its samples. */
export type Measure = 'accuracy' | 'tokens' | 'capped' | 'final';

const measures: Readonly<Record<Measure, (answer: Answer) => number>> = {
  accuracy: ({ isCorrect }) => Number(isCorrect),
  tokens: ({ tokens }) => tokens,
  capped: ({ isCapped }) => Number(isCapped),
  final: ({ hasFinal }) => Number(hasFinal),
};

/** Means of one measure at one effort in one resample: of a task, or over all tasks, each weighing the same. */
export interface Draw {
  mean(side: 'own' | 'baseline', of: { measure: Measure; effort: string; task: string | undefined }): number;
  /** A standard normal number, the same for equal names within a resample. */
  normal(name: string): number;
}

export interface Distribution {
  standardError: number;
  /** 2.5 and 97.5 % of the resamples. */
  interval: readonly [number, number];
  /** Every resample's value, sorted. */
  values: Float64Array;
  questions: number;
}

export const resampleCount = 2000;

export type Statistic = (draw: Draw) => number | undefined;

/**
 * The bootstrap (Efron 1979), paired: questions are drawn again with replacement within each task, and both models are taken at
 * the same ones, so what both find hard alike does not count as noise. A question keeps all its samples and efforts. The draws
 * come from a seed, so equal answers give equal figures. Undefined where the two did not answer the same questions.
 */
export function bootstrap(
  own: readonly Answer[],
  baseline: readonly Answer[] | undefined,
  statistic: Statistic,
): Distribution | undefined {
  return bootstrapAll(own, baseline, [statistic])[0];
}

/** Several statistics of the same resamples. */
export function bootstrapAll(
  own: readonly Answer[],
  baseline: readonly Answer[] | undefined,
  statistics: readonly Statistic[],
): (Distribution | undefined)[] {
  const tables = tablesOf(own);
  const others = baseline === undefined ? undefined : tablesOf(baseline);
  if (tables.size === 0 || (others !== undefined && !haveSameQuestions(tables, others)))
    return statistics.map(() => undefined);
  const random = mulberry32(seed);
  const values = statistics.map((): number[] => []);
  for (let resample = 0; resample < resampleCount; resample++) {
    const drawn = new Map([...tables].map(([task, { ids }]) => [task, drawFrom(ids.length, random)]));
    const draw = drawOf(drawn, { own: tables, baseline: others ?? tables }, random);
    for (const [at, statistic] of statistics.entries()) {
      const value = statistic(draw);
      if (value !== undefined && Number.isFinite(value)) values[at]?.push(value);
    }
  }
  const questions = [...tables.values()].reduce((sum, { ids }) => sum + ids.length, 0);
  return values.map((found) => distributionOf(found, questions));
}

/** Where most resamples have no value (a baseline of nothing) there is no distribution. */
function distributionOf(values: readonly number[], questions: number): Distribution | undefined {
  if (values.length < resampleCount / 2) return undefined;
  const sorted = Float64Array.from(values).sort();
  const interval = [quantile(sorted, 0.025), quantile(sorted, 0.975)] as const;
  return { standardError: deviationOf(sorted), interval, values: sorted, questions };
}

const seed = 20260211;

/** Of one task: questions in the order of their ids, and what each gave at each effort; NaN where it was not asked. */
interface Table {
  ids: string[];
  columns: Map<string, Float64Array>;
}

function tablesOf(answers: readonly Answer[]): Map<string, Table> {
  const byTask = new Map<string, Answer[]>();
  for (const answer of answers) {
    const own = byTask.get(answer.task) ?? [];
    byTask.set(answer.task, own);
    own.push(answer);
  }
  return new Map([...byTask].sort(([a], [b]) => (a < b ? -1 : 1)).map(([task, own]) => [task, tableOf(own)]));
}

function tableOf(answers: readonly Answer[]): Table {
  const ids = [...new Set(answers.map(({ id }) => id))].sort();
  const row = new Map(ids.map((id, index) => [id, index]));
  const sums = new Map<string, { column: Float64Array; samples: Float64Array }>();
  for (const answer of answers) {
    const index = row.get(answer.id) ?? 0;
    for (const [measure, valueOf] of Object.entries(measures)) {
      const name = columnName(measure, answer.effort);
      const sum = sums.get(name) ?? emptySums(ids.length);
      sums.set(name, sum);
      addAt(sum.column, index, valueOf(answer));
      addAt(sum.samples, index, 1);
    }
  }
  const columns = [...sums].map(([name, sum]) => [name, divided(sum)] as const);
  return { ids, columns: new Map(columns) };
}

function emptySums(length: number): { column: Float64Array; samples: Float64Array } {
  return { column: new Float64Array(length), samples: new Float64Array(length) };
}

function addAt(column: Float64Array, index: number, value: number): void {
  column[index] = (column[index] ?? 0) + value;
}

/** NaN where there is no sample. */
function divided({ column, samples }: { column: Float64Array; samples: Float64Array }): Float64Array {
  return column.map((sum, index) => sum / (samples[index] ?? 0));
}

function columnName(measure: string, effort: string): string {
  return `${measure} ${effort}`;
}

function haveSameQuestions(one: Map<string, Table>, other: Map<string, Table>): boolean {
  const keysOf = (tables: Map<string, Table>): string =>
    JSON.stringify([...tables].map(([task, { ids, columns }]) => [task, ids, [...columns.keys()].sort()]));
  return keysOf(one) === keysOf(other);
}

type Tables = Readonly<Record<'own' | 'baseline', Map<string, Table>>>;

function drawOf(drawn: Map<string, Int32Array>, tables: Tables, random: () => number): Draw {
  const normals = new Map<string, number>();
  const known = new Map<Float64Array, number>();
  const meanAt = (column: Float64Array, task: string): number => {
    const mean = known.get(column) ?? meanOf(column, drawn.get(task) ?? new Int32Array());
    known.set(column, mean);
    return mean;
  };
  return {
    mean: (side, { measure, effort, task }) => {
      const name = columnName(measure, effort);
      const means = [...tables[side]].flatMap(([own, { columns }]) => {
        const column = task === undefined || task === own ? columns.get(name) : undefined;
        return column === undefined ? [] : [meanAt(column, own)];
      });
      return means.reduce((sum, mean) => sum + mean, 0) / means.length;
    },
    normal: (name) => {
      const drawnBefore =
        normals.get(name) ?? Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
      normals.set(name, drawnBefore);
      return drawnBefore;
    },
  };
}

function meanOf(column: Float64Array, drawn: Int32Array): number {
  let [sum, count] = [0, 0];
  for (const index of drawn) {
    const value = column[index] ?? NaN;
    if (Number.isNaN(value)) continue;
    sum += value;
    count++;
  }
  return sum / count;
}

function drawFrom(count: number, random: () => number): Int32Array {
  return Int32Array.from({ length: count }, () => Math.floor(random() * count));
}

function deviationOf(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / Math.max(1, values.length - 1));
}

function quantile(sorted: Float64Array, share: number): number {
  const place = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(place)] ?? NaN, sorted[Math.ceil(place)] ?? NaN];
  return low + (high - low) * (place - Math.floor(place));
}

/** mulberry32 (T. Ettinger, public domain): integer arithmetic only, the same on every machine. */
function mulberry32(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
