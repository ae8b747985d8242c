import { parseArgs } from 'node:util';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { findRun } from './find-run.ts';

/** Stops a run and waits until it has stopped; a run that was interrupted is taken up for that. */
export const command: Command = {
  async run(invocation) {
    const { positionals } = parseArgs({ args: invocation.args, allowPositionals: true, options: {} });
    const [name, ...more] = positionals;
    if (name === undefined || more.length > 0) throw new UsageError('expected one run, or `last`');
    const paths = homePaths(invocation.env, invocation.cwd);
    const run = await findRun(openHomeStore(paths.root), name);
    const id = run.started.run;
    let state: string = run.finished?.state ?? '';
    if (state === '') {
      const { cancelRun } = await import('./cancel-run.ts');
      state = await cancelRun(id, invocation, paths);
    }
    if (invocation.json) invocation.terminal.out(`${JSON.stringify({ run: id, state })}\n`);
    else invocation.terminal.out(`run ${id}: ${state}\n`);
    return exitCodes.ok;
  },
};
