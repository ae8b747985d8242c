import { constants } from 'node:os';
import { Failure, type FailureCode } from '../core/errors.ts';
import { readFirstFailure } from './job-events.ts';
import { readText, type JobFolder } from './job-folder.ts';
import type { JobCause } from './launchers/launcher.ts';
import { countOomKills } from './launchers/oom-kills.ts';

const logLines = 20;

/**
 * Why a job that left nothing has ended: what it said itself, unless that is the echo of a process
 * that was killed; else what its launcher knows; else its exit code, with the last line of its log.
 */
export async function failureOfJob(folder: JobFolder, cause?: JobCause): Promise<Failure> {
  const log = await folder.tailLog(logLines);
  const exit = await folder.readExit();
  const details = { attempt: folder.attempt, folder: folder.path, exit: exit ?? null, log };
  const killed = await killedBy(folder, exit);
  const said = await readFirstFailure(folder.events);
  if (said !== undefined && !isEcho(said.code, killed)) {
    return new Failure(said.code, said.message, { details: { ...details, ...said.details } });
  }
  if (cause !== undefined) return new Failure(cause.code, cause.message, { details });
  if (exit === undefined || killed === 9) return await failureOfKill(folder, details);
  const code = await codeOfEnd(folder, killed);
  const how = killed === undefined ? `exit code ${exit}` : `ended by signal ${killed} (${nameOf(killed)})`;
  const last = log.split('\n').at(-1) ?? '';
  return new Failure(code, last === '' ? how : `${how}: ${last}`, { details });
}

/**
 * A rank whose neighbour was killed fails in the middle of what they did together; and torchrun, when
 * one rank has ended by a signal, asks the others to stop, which they tell as if somebody else had asked.
 */
function isEcho(said: FailureCode, killed: number | undefined): boolean {
  if (said === 'PREEMPTED') return killed !== undefined && killed !== constants.signals.SIGTERM;
  return said === 'ENGINE_BUG' && killed === 9;
}

/** SIGTERM from outside is a machine being taken away; other signals are crashes. */
async function codeOfEnd(folder: JobFolder, killed: number | undefined): Promise<FailureCode> {
  if (killed === constants.signals.SIGTERM) return 'PREEMPTED';
  return (await folder.readJob())?.kind === 'command' ? 'COMMAND_FAILED' : 'ENGINE_BUG';
}

/** Nobody says who sent SIGKILL; the kernel counts those that it sends for want of memory. */
async function failureOfKill(folder: JobFolder, details: Record<string, unknown>): Promise<Failure> {
  const before = await readText(folder.oomKills);
  const now = countOomKills();
  if (before !== undefined && now !== undefined && now > Number(before)) {
    const message = 'killed by the kernel: this host ran out of memory';
    return new Failure('OUT_OF_MEMORY', message, { details });
  }
  return new Failure('NODE_LOST', 'the job was killed', { details });
}

/**
 * The signal that ended the job, or under torchrun the rank that failed first.
 * @see torch.distributed.elastic.multiprocessing.errors: `exitcode : -9 (pid: 123)` below "Root Cause"
 */
async function killedBy(folder: JobFolder, exit: number | undefined): Promise<number | undefined> {
  if (exit === undefined || exit === 0) return undefined;
  if (exit > 128) return exit - 128;
  const log = await folder.tailLog(200);
  const cause = /Root Cause[\s\S]*?exitcode\s*: -(\d+) /.exec(log)?.[1];
  return cause === undefined ? undefined : Number(cause);
}

function nameOf(signal: number): string {
  const found = Object.entries(constants.signals).find(([, number]) => number === signal);
  return found?.[0] ?? 'unknown';
}
