import { actOnRun, parseSaying } from './act-on-run.ts';
import type { Command } from './command.ts';

/** What was paused goes on from its snapshots. */
export const command: Command = {
  run: (invocation) => actOnRun('resume', parseSaying(invocation, 'nothing'), invocation),
};
