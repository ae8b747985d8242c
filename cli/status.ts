import { parseArgs } from 'node:util';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { listRuns, readRun, type StoredRun } from './find-run.ts';
import { liveRuns } from './live-states.ts';
import { columns } from './table.ts';

interface Line {
  run: string;
  spec: string;
  profile: string | null;
  state: 'running' | 'interrupted' | 'done' | 'failed' | 'cancelled';
  startedAt: string;
  finishedAt: string | null;
  stages: { [outcome: string]: number };
}

/** Runs and their states, newest first. `interrupted`: it has not ended and nothing works on it now. */
export const command: Command = {
  async run(invocation) {
    const { values } = parseArgs({
      args: invocation.args,
      options: { limit: { type: 'string', default: '20' } },
    });
    const limit = Number(values.limit);
    if (!Number.isInteger(limit) || limit < 1)
      throw new UsageError(`--limit: expected a number, found ${values.limit}`);
    const paths = homePaths(invocation.env, invocation.cwd);
    const store = openHomeStore(paths);
    const ids = (await listRuns(store)).slice(0, limit);
    const runs = await Promise.all(ids.map((id) => readRun(store, id)));
    const live = runs.some(({ finished }) => finished === undefined)
      ? await liveRuns(invocation, paths)
      : undefined;
    const lines = await Promise.all(
      runs.map(async (run) => toLine(run, (await live?.isRunning(run.started.run)) === true)),
    );
    await live?.close();
    if (invocation.json) invocation.terminal.out(`${JSON.stringify({ runs: lines })}\n`);
    else invocation.terminal.out(lines.length === 0 ? 'no runs yet\n' : render(lines));
    return exitCodes.ok;
  },
};

function toLine({ started, finished, plan }: StoredRun, isRunning: boolean): Line {
  const stages: Line['stages'] = {};
  for (const { outcome } of finished?.stages ?? []) stages[outcome] = (stages[outcome] ?? 0) + 1;
  if (finished === undefined) stages['planned'] = plan.stages.length;
  return {
    run: started.run,
    spec: started.spec.name,
    profile: started.spec.profile,
    state: finished?.state ?? (isRunning ? 'running' : 'interrupted'),
    startedAt: started.startedAt,
    finishedAt: finished?.finishedAt ?? null,
    stages,
  };
}

function render(lines: readonly Line[]): string {
  const rows = lines.map((line) => [
    line.run,
    line.spec,
    line.profile ?? '-',
    line.state,
    Object.entries(line.stages)
      .map(([outcome, count]) => `${count} ${outcome}`)
      .join(', '),
  ]);
  return columns([['run', 'spec', 'profile', 'state', 'stages'], ...rows], []);
}
