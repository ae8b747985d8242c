import type { FailureCode } from '../../core/errors.ts';
import type { JobFolder } from '../job-folder.ts';
import type { StageResources } from '../stage-request.ts';

/** How a job is started: the program, and what is added to the few variables that every job gets. */
export interface JobCommand {
  runner: 'engine' | 'node' | 'command';
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  /** Variable -> name of the secret whose value it holds; the launcher gets the value to the job and writes it nowhere. */
  secrets: Readonly<Record<string, string>>;
  /** Where it is started: its own folder for a user's command. */
  cwd: string;
  /** Processes of one job, for launchers that start several. */
  ranks: number;
  /** What the stage asks for: for launchers that ask a scheduler. */
  resources: StageResources;
}

/** Why a job ended that left no done-manifest, as far as its launcher knows. */
export interface JobCause {
  code: FailureCode;
  message: string;
}

export type JobState = 'running' | 'ended' | 'unknown';

/**
 * Starts jobs that outlive the worker and finds them again. A job is known by its folder; nothing
 * is kept in memory that a new worker would miss. Whether a job succeeded is not asked of a
 * launcher: the done-manifest says so.
 */
export interface Launcher {
  readonly name: string;
  /** Jobs run here and share this host's CPUs; false where a scheduler gives them theirs. */
  readonly usesThisHost: boolean;
  start(folder: JobFolder, command: JobCommand): Promise<void>;
  /** `unknown`: started on another host, or never. */
  poll(folder: JobFolder): Promise<JobState>;
  /** Resolves when the job has ended or `timeoutMs` are over, sooner than polling would where it can. */
  wait(folder: JobFolder, timeoutMs: number): Promise<void>;
  /** SIGTERM, `graceSeconds` for a last snapshot, then SIGKILL. Resolves when nothing of the job runs. */
  stop(folder: JobFolder, graceSeconds: number): Promise<void>;
  /** Where each Python process of the job is now, for people. Absent where nobody can look. */
  dumpStacks?(folder: JobFolder): Promise<string>;
  /** Files that hold what the job wrote, one for each rank. */
  logs(folder: JobFolder): Promise<string[]>;
  /** Undefined when the launcher knows no more than the job's own files say. */
  cause(folder: JobFolder): Promise<JobCause | undefined>;
}
