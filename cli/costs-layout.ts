import { parseArgs } from 'node:util';
import { estimateInput } from '../compiler/cost.ts';
import type { PlannedStage } from '../compiler/plan.ts';
import { usableBytes } from '../costs/engine-model.ts';
import { gibibyte } from '../costs/geometry.ts';
import { hardware } from '../costs/hardware.ts';
import type { EstimateInput, Range, Work } from '../kinds/kind.ts';
import { kindNamed } from '../kinds/registry.ts';
import { exitCodes, UsageError, type Invocation } from './command.ts';
import { printDiagnostics } from './diagnostics.ts';
import { loadPlan, parseParam, parsePrice } from './load-plan.ts';
import { durationRange } from './plan-text.ts';
import { planSizes } from './plan-sizes.ts';
import { columns } from './table.ts';

type Resources = EstimateInput['resources'];

/** Option -> the resource that it stands for. */
const asked = {
  gpus: 'gpus',
  shard: 'shard',
  context: 'context_parallel',
  'micro-batch': 'micro_batch',
  recompute: 'recompute_activations',
  'tensor-parallel': 'tensor_parallel',
} as const satisfies Record<string, keyof Resources>;

type Option = keyof typeof asked;
const optionNames = Object.keys(asked) as Option[];

/** One layout of a stage; what it costs is undefined where its model or its tokens are not known. */
interface LayoutCost {
  layout: Partial<Record<Option, number>>;
  work: Work | undefined;
  gpuSeconds: Range | undefined;
  wallSeconds: Range | undefined;
  fits: boolean;
}

/** `fretsaw costs layout`: a stage of a spec in every combination of the layouts asked about. */
export function layout(invocation: Invocation): number {
  const choice = parseChoice(invocation.args);
  const loaded = loadPlan(choice.spec, choice, invocation);
  if (!loaded.ok) {
    printDiagnostics(loaded.error, invocation);
    return exitCodes.usage;
  }
  const stage = stageNamed(loaded.value.stages, choice.stage);
  const input = estimateInput(stage, planSizes(loaded.value.stages));
  const rows = combinations(choice.values).map((values) => costOf(stage, input, values));
  if (rows.every(({ work }) => work === undefined))
    throw new UsageError(
      `nothing is known of ${stage.name} on GPUs: its kind, its model's config.json or --gpus`,
    );
  const { terminal, json } = invocation;
  terminal.out(
    json ? `${JSON.stringify({ stage: stage.name, layouts: rows })}\n` : table(rows, choice.price),
  );
  return exitCodes.ok;
}

function stageNamed(stages: readonly PlannedStage[], name: string): PlannedStage {
  const stage = stages.find((planned) => planned.name === name);
  if (stage !== undefined) return stage;
  throw new UsageError(`the spec has no stage ${name}; it has ${stages.map((each) => each.name).join(', ')}`);
}

/** A layout that cannot be has no cost, and says why. */
function costOf(stage: PlannedStage, input: EstimateInput, values: ReadonlyMap<Option, number>): LayoutCost {
  const changes = Object.fromEntries([...values].map(([option, value]) => [asked[option], value]));
  const resources: Resources = { ...input.resources, ...changes };
  requirePossible(resources);
  const kind = kindNamed(stage.kind);
  const given = { ...input, resources };
  const work = kind.work?.(given);
  const gpuSeconds = work === undefined ? undefined : kind.estimate(given);
  const { gpus } = resources;
  return {
    layout: { gpus, ...Object.fromEntries(values) },
    work,
    gpuSeconds,
    wallSeconds:
      gpuSeconds === undefined ? undefined : { low: gpuSeconds.low / gpus, high: gpuSeconds.high / gpus },
    fits: (work?.memory['total'] ?? 0) <= usableBytes(gpu),
  };
}

const gpu = hardware['h100-sxm'];

function requirePossible({ gpus, shard = gpus, context_parallel: context = 1 }: Resources): void {
  if (gpus > 0 && gpus % shard !== 0) throw new UsageError(`--shard: ${shard} does not divide ${gpus} GPUs`);
  if (gpus > 0 && gpus % context !== 0)
    throw new UsageError(`--context: ${context} does not divide ${gpus} GPUs`);
}

function combinations(values: ReadonlyMap<Option, readonly number[]>): ReadonlyMap<Option, number>[] {
  let all: ReadonlyMap<Option, number>[] = [new Map()];
  for (const [option, choices] of values)
    all = all.flatMap((before) => choices.map((value) => new Map([...before, [option, value]])));
  return all;
}

function table(rows: readonly LayoutCost[], price: number | undefined): string {
  const options = optionNames.filter((option) => rows.some((row) => row.layout[option] !== undefined));
  const parts = [...new Set(rows.flatMap(({ work }) => Object.keys(work?.memory ?? {})))];
  const gib = (bytes: number | undefined): string =>
    bytes === undefined ? '' : (bytes / gibibyte).toFixed(1);
  const head = [
    ...[...options, ...parts.map((part) => `${part}, GiB`), 'GPU time', 'wall time'],
    ...(price === undefined ? [] : ['price']),
    '',
  ];
  const body = rows.map(({ layout: values, work, gpuSeconds, wallSeconds, fits }) => [
    ...options.map((option) => String(values[option] ?? '')),
    ...parts.map((part) => gib(work?.memory[part])),
    ...[gpuSeconds, wallSeconds].map((range) => (range === undefined ? '?' : durationRange(range))),
    ...(price === undefined ? [] : [gpuSeconds === undefined ? '?' : priceText(gpuSeconds, price)]),
    fits ? '' : `more than ${gpu.name} has`,
  ]);
  const sides = head.map((_, at) => (at === head.length - 1 ? ('left' as const) : ('right' as const)));
  return columns([head, ...body], sides);
}

function priceText({ low, high }: Range, price: number): string {
  const money = (seconds: number): string => Math.round((seconds / 3600) * price).toLocaleString('en-US');
  return `${money(low)}-${money(high)}`;
}

interface Choice {
  spec: string;
  stage: string;
  profile?: string;
  params: Record<string, string>;
  price: number | undefined;
  values: Map<Option, number[]>;
}

function parseChoice(args: string[]): Choice {
  const text = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...{ profile: text, price: text, param: { type: 'string', multiple: true, default: [] } },
      ...{
        gpus: text,
        shard: text,
        context: text,
        'micro-batch': text,
        recompute: text,
        'tensor-parallel': text,
      },
    },
  });
  const [spec, stage, ...more] = positionals;
  if (spec === undefined || stage === undefined || more.length > 0)
    throw new UsageError('expected a spec and one of its stages');
  const given = optionNames.flatMap((option): [Option, number[]][] => {
    const list = values[option];
    return list === undefined ? [] : [[option, numbersOf(list, option)]];
  });
  return {
    spec,
    stage,
    params: Object.fromEntries(values.param.map(parseParam)),
    ...(values.profile === undefined ? {} : { profile: values.profile }),
    price: values.price === undefined ? undefined : parsePrice(values.price),
    values: new Map(given),
  };
}

function numbersOf(list: string, option: Option): number[] {
  const least = option === 'recompute' ? 0 : 1;
  const most = option === 'recompute' ? 1 : Infinity;
  return list.split(',').map((text) => {
    const value = text.trim() === '' ? NaN : Number(text);
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw new UsageError(`--${option}: expected whole numbers of at least ${least}, found ${text}`);
  });
}
