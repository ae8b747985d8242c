import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Plan } from '../compiler/plan.ts';
import { shortDigest } from '../core/digest.ts';
import { unreachable } from '../core/result.ts';
import type { Store } from '../store/store.ts';
import type { StageOutcome } from '../workflows/index.ts';
import type { Invocation } from './command.ts';
import type { Resolved } from './resolve-plan.ts';
import { paint } from './paint.ts';

/** Above this, stages that were cached are counted, not listed. */
const listedAtMost = 60;

export interface Ended {
  run: string | null;
  state: 'done' | 'failed' | 'cancelled';
  outcomes: ReadonlyMap<string, StageOutcome>;
  seconds: number;
}

interface Around {
  invocation: Invocation;
  store: Store;
}

/** The answer when nothing had to run. */
export async function renderCached(plan: Plan, resolved: Resolved, around: Around): Promise<void> {
  const outcomes = new Map(
    [...resolved.hits].map(([name, hit]) => [name, { kind: 'cached' as const, ...hit }]),
  );
  await renderEnd(plan, { run: null, state: 'done', outcomes, seconds: 0 }, around);
}

/** A line a stage, then what it came to and where the reports are. */
export async function renderEnd(plan: Plan, ended: Ended, { invocation, store }: Around): Promise<void> {
  const { terminal, json } = invocation;
  const counts = countOf(ended.outcomes);
  if (json) {
    const stages = Object.fromEntries(ended.outcomes);
    terminal.out(
      `${JSON.stringify({ run: ended.run, spec: plan.spec.name, profile: plan.spec.profile, state: ended.state, counts, stages })}\n`,
    );
    return;
  }
  const isLong = plan.stages.length > listedAtMost;
  const width = Math.min(48, Math.max(...plan.stages.map(({ name }) => name.length), 5));
  const lines = plan.stages.flatMap(({ name }) => {
    const outcome = ended.outcomes.get(name);
    if (outcome === undefined || (isLong && (outcome.kind === 'cached' || outcome.kind === 'ran'))) return [];
    return [`${name.padEnd(width)}  ${describeOutcome(outcome, terminal)}`];
  });
  const parts = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind}`);
  const label = ended.run === null ? plan.spec.name : `${plan.spec.name}, run ${ended.run}`;
  lines.push(
    `${label}: ${ended.state} (${parts.join(', ') || 'no stages'})${ended.seconds > 0 ? ` in ${ended.seconds.toFixed(1)} s` : ''}`,
  );
  lines.push(...(await reportsOf(plan, ended, store)));
  terminal.out(`${lines.join('\n')}\n`);
}

export function describeOutcome(outcome: StageOutcome, terminal: Invocation['terminal']): string {
  switch (outcome.kind) {
    case 'cached':
      return `${paint(terminal, 'dim', 'cached')}   ${outputsOf(outcome.outputs)}`;
    case 'ran': {
      const tries = outcome.attempts > 1 ? ` after ${outcome.attempts} attempts` : '';
      return `${paint(terminal, 'green', 'done')}     ${outputsOf(outcome.outputs)}${tries}`;
    }
    case 'failed':
      return `${paint(terminal, 'red', 'failed')}   ${outcome.code}: ${outcome.message}`;
    case 'cancelled':
      return paint(terminal, 'yellow', 'cancelled');
    case 'blocked':
      return `${paint(terminal, 'yellow', 'blocked')}  by ${outcome.by}`;
    default:
      return unreachable(outcome);
  }
}

function countOf(outcomes: ReadonlyMap<string, StageOutcome>): Record<StageOutcome['kind'], number> {
  const counts = { cached: 0, ran: 0, failed: 0, cancelled: 0, blocked: 0 };
  for (const { kind } of outcomes.values()) counts[kind]++;
  return counts;
}

function outputsOf(outputs: Readonly<Record<string, { digest: string }>>): string {
  return Object.entries(outputs)
    .map(([name, { digest }]) => `${name} ${shortDigest(digest)}`)
    .join('  ');
}

/** Each report's table as a terminal shows it, and where its page is. */
async function reportsOf(plan: Plan, ended: Ended, store: Store): Promise<string[]> {
  const lines: string[] = [];
  for (const { name, kind } of plan.stages) {
    const outcome = ended.outcomes.get(name);
    if (kind !== 'report' || (outcome?.kind !== 'cached' && outcome?.kind !== 'ran')) continue;
    const ref = outcome.outputs['report'];
    if (ref === undefined) continue;
    const folder = await store.artifacts.view(ref.digest);
    const table = await readFile(join(folder, 'report.txt'), 'utf8');
    lines.push('', table.trimEnd(), '', `${name}: ${join(folder, 'report.html')}`);
  }
  return lines;
}
