import { parseArgs } from 'node:util';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { findRun } from './find-run.ts';
import { listedRuns, type RunLine } from './list-runs.ts';
import { liveRuns } from './live-states.ts';
import { describePoolWait } from './pool-queues.ts';
import { filterOptions, parseFilter } from './run-filter.ts';
import { columns } from './table.ts';

/** Runs and their states, newest first, a page at a time. */
export const command: Command = {
  async run(invocation) {
    const { values } = parseArgs({
      args: invocation.args,
      options: {
        ...filterOptions,
        limit: { type: 'string', default: '20' },
        before: { type: 'string' },
      },
    });
    const limit = parseLimit(values.limit);
    const filter = parseFilter(values);
    const paths = homePaths(invocation.env, invocation.cwd);
    const store = openHomeStore(paths);
    const before =
      values.before === undefined ? undefined : (await findRun(store, values.before)).started.run;
    const live = await liveRuns(invocation, paths);
    const lines: RunLine[] = [];
    let next: string | null = null;
    try {
      for await (const line of listedRuns({ store, live, filter, before })) {
        if (lines.length === limit) {
          next = lines.at(-1)?.run ?? null;
          break;
        }
        lines.push(line);
      }
    } finally {
      await live.close();
    }
    if (invocation.json) invocation.terminal.out(`${JSON.stringify({ runs: lines, next })}\n`);
    else if (lines.length === 0)
      invocation.terminal.out(Object.keys(filter).length === 0 ? 'no runs yet\n' : 'no such runs\n');
    else invocation.terminal.out(render(lines, next));
    return exitCodes.ok;
  },
};

function parseLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1)
    throw new UsageError(`--limit: expected a number, found ${text}`);
  return limit;
}

const heads = ['run', 'spec', 'profile', 'state', 'owner', 'commit', 'stages'];

function render(lines: readonly RunLine[], next: string | null): string {
  const rows = lines.map((line) => [
    line.run,
    line.spec,
    line.profile ?? '-',
    line.state,
    line.owner ?? '-',
    shortCommit(line.commit),
    Object.entries(line.stages)
      .map(([state, count]) => `${count} ${state}`)
      .join(', '),
  ]);
  const waits = lines.flatMap(({ run, waits }) => waits.map((wait) => `${run} ${describePoolWait(wait)}\n`));
  const more = next === null ? '' : `older ones: --before ${next}\n`;
  return `${columns(
    [heads, ...rows],
    heads.map(() => 'left' as const),
  )}${waits.join('')}${more}`;
}

function shortCommit(commit: string | null): string {
  return commit === null ? '-' : commit.replace(/^(.{12})[^+]*/, '$1');
}
