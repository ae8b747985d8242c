/** Exit codes of every command. */
export const exitCodes = {
  ok: 0,
  /** The work was tried and failed: a stage, a gate, a check. */
  failed: 1,
  /** The user's mistake: arguments or spec; nothing was started. */
  usage: 2,
  notFound: 3,
  /** Something outside does not answer: store, Temporal, disk. */
  unavailable: 4,
  /** Stopped by Ctrl-C (128 + SIGINT). */
  interrupted: 130,
} as const;

/** The terminal, or a pipe. Results go to `out`, everything else to `err`. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  isTty: boolean;
  /** False when piped, with NO_COLOR, or with --json. */
  hasColor: boolean;
  columns: number;
  rows: number;
}

/** Where this program lies. */
export interface Installation {
  /** The folder that holds dist/, engine/ and .venv/. */
  root: string;
}

export interface Invocation {
  /** What follows the command's name, without the options that all commands share. */
  args: string[];
  /** `--json` was given: print one JSON document and nothing else on `out`. */
  json: boolean;
  env: NodeJS.ProcessEnv;
  cwd: string;
  terminal: Terminal;
  installation: Installation;
}

/**
 * One command of `fretsaw`. Each is the `command` export of a file of its own that is loaded only when
 * it is called, so that a cached `run` does not pay for Temporal.
 */
export interface Command {
  run(invocation: Invocation): Promise<number>;
}

/** The user's mistake on the command line: printed with a hint at the command's help, exit 2. */
export class UsageError extends Error {}
