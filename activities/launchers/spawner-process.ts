import { spawn } from 'node:child_process';
import { closeSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { identify, type ProcessIdentity } from './process-identity.ts';

/** What the worker asks of its spawner: one job. */
export interface SpawnRequest {
  id: number;
  argv: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  log: string;
  /** Where to write who it is, so that a worker killed in that moment leaves no job that nobody finds. */
  note: string;
  /** Who it runs as; absent: the worker's own user. */
  user?: { uid: number; gid: number };
}

/** `started` without an identity: it could not be started, or was gone at once. */
export type SpawnAnswer =
  | { id: number; kind: 'started'; identity: ProcessIdentity | undefined; error: string | undefined }
  | { id: number; kind: 'ended' };

/**
 * A small process that starts jobs for the worker. fork() copies the page tables of its caller: for a
 * worker with Temporal in it that is 10 ms and more in which nothing else happens, for this 2 ms. It
 * ends with its worker; the jobs, each a process group of its own, do not.
 */
export function serveSpawner(): void {
  process.on('disconnect', () => process.exit(0));
  process.on('SIGINT', () => undefined);
  process.on('message', (request: SpawnRequest) => {
    start(request);
  });
}

function start({ id, argv, cwd, env, log, note, user }: SpawnRequest): void {
  const [program = '', ...args] = argv;
  const file = openSync(log, 'a');
  const child = spawn(program, args, {
    cwd,
    env: { ...env },
    detached: true,
    stdio: ['ignore', file, file],
    ...user,
  });
  closeSync(file);
  let hasAnswered = false;
  const answer = (identity: ProcessIdentity | undefined, error: string | undefined): void => {
    if (hasAnswered) return;
    hasAnswered = true;
    tell({ id, kind: 'started', identity, error });
  };
  child.once('error', (error) => {
    answer(undefined, error.message);
  });
  child.once('exit', () => {
    tell({ id, kind: 'ended' });
  });
  if (child.pid === undefined) return;
  const identity = identify(child.pid);
  if (identity !== undefined) writeNote(note, identity);
  answer(identity, undefined);
}

/** By rename: whole or absent. */
function writeNote(path: string, identity: ProcessIdentity): void {
  const partial = `${path}.${process.pid}.partial`;
  writeFileSync(partial, `${JSON.stringify(identity, null, 1)}\n`);
  renameSync(partial, path);
}

function tell(answer: SpawnAnswer): void {
  // A worker that was killed in this moment hears nothing.
  if (process.connected) process.send?.(answer, undefined, undefined, () => undefined);
}
