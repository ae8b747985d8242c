import { actOnRun, parseSaying } from './act-on-run.ts';
import type { Command } from './command.ts';

/** A run, or one stage of it, is wanted later: jobs that nobody else wants take a snapshot and end. */
export const command: Command = {
  run: (invocation) => actOnRun('pause', parseSaying(invocation, 'nothing'), invocation),
};
