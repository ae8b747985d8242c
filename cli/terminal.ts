import { writeSync } from 'node:fs';
import type { Terminal } from './command.ts';

/** The process's own standard streams. A reader that has gone away (`| head`) ends the program quietly. */
export function createTerminal(env: NodeJS.ProcessEnv, json: boolean): Terminal {
  const isTty = process.stdout.isTTY && !json;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void writeSync(2, text),
    isTty,
    hasColor: isTty && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb',
    get columns() {
      return process.stdout.columns || 100;
    },
    get rows() {
      return process.stdout.rows || 40;
    },
  };
}
