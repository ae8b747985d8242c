import { homePaths, openHomeStore } from '../workers/home.ts';
import { actOnRun, parseSaying } from './act-on-run.ts';
import { exitCodes, type Command } from './command.ts';
import { findRun } from './find-run.ts';

/**
 * Stops a run, or one stage of it and what reads that stage. Of a run it waits for the end; one that
 * was interrupted is taken up for that.
 */
export const command: Command = {
  async run(invocation) {
    const saying = parseSaying(invocation, 'nothing');
    if (saying.stage !== undefined) return await actOnRun('cancel', saying, invocation);
    const paths = homePaths(invocation.env, invocation.cwd);
    const run = await findRun(openHomeStore(paths), saying.run);
    const id = run.started.run;
    let state: string = run.finished?.state ?? '';
    if (state === '') {
      const { cancelRun } = await import('./cancel-run.ts');
      state = await cancelRun(id, saying, { invocation, paths });
    }
    if (invocation.json) invocation.terminal.out(`${JSON.stringify({ run: id, state })}\n`);
    else invocation.terminal.out(`run ${id}: ${state}\n`);
    return exitCodes.ok;
  },
};
