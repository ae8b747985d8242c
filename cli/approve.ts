import { actOnRun, parseSaying } from './act-on-run.ts';
import { UsageError, type Command } from './command.ts';

/** A person agrees that a stage is run; who and why are kept. */
export const command: Command = {
  run: async (invocation) => {
    const saying = parseSaying(invocation, 'reason');
    if (saying.stage === undefined)
      throw new UsageError('expected a run and the stage that waits for approval');
    return await actOnRun('approve', saying, invocation);
  },
};
