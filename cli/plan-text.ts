import type { StageChange } from '../compiler/compare-plans.ts';
import type { Cost, Totals } from '../compiler/cost.ts';
import type { Difference } from '../compiler/nearest.ts';
import { isLocal } from '../compiler/locations.ts';
import type { Plan } from '../compiler/plan.ts';
import type { Resolution, ResolvedStage, Why } from '../compiler/resolve.ts';
import type { Json } from '../core/canonical-json.ts';
import { isDigest, shortDigest } from '../core/digest.ts';
import { unreachable } from '../core/result.ts';
import { usableBytes } from '../costs/engine-model.ts';
import { gibibyte } from '../costs/geometry.ts';
import { hardware } from '../costs/hardware.ts';
import type { Range, Work } from '../kinds/kind.ts';
import type { Terminal } from './command.ts';
import { paint } from './paint.ts';
import { columns } from './table.ts';

/** Differences shown of one stage; the rest is counted, and all are in --json. */
const shownDifferences = 3;
/** Above this, hits are counted and not listed. */
const listedAtMost = 60;

/** A line a stage: what becomes of it, what that costs, and why. `price` is that of a GPU for an hour. */
export function planText(
  plan: Plan,
  { stages, totals }: Resolution,
  { terminal, price }: { terminal: Terminal; price?: number | undefined },
): string {
  const kinds = new Map(plan.stages.map(({ name, kind }) => [name, kind]));
  const isLong = stages.length > listedAtMost;
  const listed = isLong ? stages.filter(({ state }) => state !== 'hit') : stages;
  const works = listed.map((stage) => (stage.state === 'hit' ? null : stage.work));
  const hasWork = works.some((work) => work !== null);
  const rows = listed.map((stage, index) => [
    stage.name,
    kinds.get(stage.name) ?? '',
    stage.state,
    costText(stage),
    ...(price === undefined ? [] : [stage.state === 'hit' ? '' : priceText(stage.cost, price)]),
    ...(hasWork ? workCells(works[index] ?? null) : []),
    stage.state === 'hit' ? '' : whyText(stage.why),
  ]);
  const titles = [
    ...['stage', 'kind', 'state', 'cost'],
    ...(price === undefined ? [] : ['price']),
    ...(hasWork ? ['FLOPs', 'a GPU'] : []),
    'why',
  ];
  const header = rows.length === 0 ? [] : [titles];
  const sides = titles.map((_, column) => (column < 3 || column === titles.length - 1 ? 'left' : 'right'));
  const table = columns([...header, ...rows], sides);
  return `${painted(table, terminal)}${totalsText(totals, price)}\n`;
}

/** FLOPs and memory of each GPU; a star where that is more than an 80 GB GPU gives an engine. */
function workCells(work: Work | null): string[] {
  if (work === null) return ['', ''];
  const total = work.memory['total'] ?? 0;
  const star = total > usableBytes(hardware['h100-sxm']) ? ' *' : '';
  return [work.flops.toExponential(1), `${rounded(total / gibibyte)} GiB${star}`];
}

/** What a stage's GPU hours cost; nothing for CPU time. */
function priceText(cost: Cost | null, price: number): string {
  return cost?.device === 'gpu' ? moneyRange(cost.seconds, price) : '';
}

function moneyRange({ low, high }: Range, price: number): string {
  const money = (seconds: number): string => rounded((seconds / 3600) * price);
  return money(low) === money(high) ? money(high) : `${money(low)}-${money(high)}`;
}

function painted(table: string, terminal: Terminal): string {
  const colors = { hit: 'dim', run: 'green', maybe: 'yellow' } as const;
  return table.replace(
    /^(\S+ +\S+ +)(hit|run|maybe)\b/gm,
    (_, before: string, state: 'hit' | 'run' | 'maybe') => {
      return `${before}${paint(terminal, colors[state], state)}`;
    },
  );
}

export function totalsText(totals: Totals, price?: number): string {
  const parts = [`${totals.hit} hit`, `${totals.run} to run`];
  if (totals.maybe > 0) parts.push(`${totals.maybe} may run`);
  const costs: string[] = [];
  if (totals.cpuSeconds.high > 0) costs.push(`CPU ${durationRange(totals.cpuSeconds)}`);
  if (totals.gpuSeconds.high > 0) costs.push(`GPU ${durationRange(totals.gpuSeconds)}`);
  if (totals.flops > 0) costs.push(`${totals.flops.toExponential(1)} FLOPs on GPUs`);
  if (price !== undefined && totals.gpuSeconds.high > 0)
    costs.push(`price ${moneyRange(totals.gpuSeconds, price)} at ${price} a GPU hour`);
  if (totals.unknownCosts > 0) costs.push(`nothing is known yet of the cost of ${totals.unknownCosts}`);
  return [parts.join(', '), ...costs].join('; ');
}

function costText(stage: ResolvedStage): string {
  if (stage.state === 'hit') return '';
  return stage.cost === null ? '?' : `${stage.cost.source === 'records' ? '' : '~'}${costRange(stage.cost)}`;
}

function costRange({ device, seconds }: Cost): string {
  return `${device === 'gpu' ? 'GPU ' : ''}${durationRange(seconds)}`;
}

export function durationRange({ low, high }: Range): string {
  const [from, to] = [duration(low), duration(high)];
  if (from === to) return to;
  const [number, unit] = from.split(' ');
  return to.endsWith(` ${unit ?? ''}`) ? `${number ?? ''}-${to}` : `${from} - ${to}`;
}

function duration(seconds: number): string {
  if (seconds < 0.05) return '0 s';
  if (seconds < 99.5) return `${rounded(seconds)} s`;
  return seconds < 99.5 * 60 ? `${rounded(seconds / 60)} min` : `${rounded(seconds / 3600)} h`;
}

function rounded(value: number): string {
  return value >= 9.95 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(2)));
}

export function whyText(why: Why): string {
  switch (why.kind) {
    case 'new':
      return 'never made';
    case 'changed':
      return differencesText(why.nearest.differences);
    case 'bytes-gone':
      return why.missing.join(', ');
    case 'unpinned':
      return isLocal(why.location)
        ? `there is nothing at ${why.location}`
        : 'not pinned: fretsaw pin writes its digest';
    case 'depends': {
      const gives = why.unless.map(
        ({ source, digest }) => `${source.stage}.${source.output} is ${shortDigest(digest)} again`,
      );
      return `unless ${gives.slice(0, shownDifferences).join(' and ')}${more(gives.length)}`;
    }
    default:
      return unreachable(why);
  }
}

function differencesText(differences: readonly Difference[]): string {
  if (differences.length === 0) return 'asked for as before, but its record is gone';
  const shown = differences
    .slice(0, shownDifferences)
    .map(({ field, a, b }) => `${field} ${value(a)} -> ${value(b)}`);
  return `${shown.join(', ')}${more(differences.length)}`;
}

function more(count: number): string {
  return count > shownDifferences ? ` (and ${count - shownDifferences} more)` : '';
}

function value(json: Json | undefined): string {
  if (json === undefined) return 'nothing';
  if (typeof json === 'string') return isDigest(json) ? shortDigest(json) : json;
  const text = JSON.stringify(json);
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}

/** What changed against an older plan; what did not is counted. */
export function changesText(changes: readonly StageChange[], revision: string, terminal: Terminal): string {
  const lines = changes.flatMap((change) => changeLines(change, terminal));
  const unchanged = changes.filter(({ kind }) => kind === 'unchanged').length;
  const summary =
    lines.length === 0
      ? `nothing changed against ${revision}`
      : `against ${revision}; ${unchanged} unchanged`;
  return `${[...lines, summary].join('\n')}\n`;
}

function changeLines(change: StageChange, terminal: Terminal): string[] {
  switch (change.kind) {
    case 'unchanged':
      return [];
    case 'added':
      return [paint(terminal, 'green', `+ ${change.stage}`)];
    case 'removed':
      return [paint(terminal, 'red', `- ${change.stage}`)];
    case 'downstream':
      return [`  ${change.stage}  reads ${change.of.join(', ')}`];
    case 'changed': {
      const fields = [...change.asks, ...change.runs].map(
        ({ field, a, b }) => `    ${field}: ${value(a)} -> ${value(b)}`,
      );
      const note = change.asks.length === 0 ? '  (how it runs only: its key stays)' : '';
      return [paint(terminal, 'yellow', `~ ${change.stage}${note}`), ...fields];
    }
    default:
      return unreachable(change);
  }
}
