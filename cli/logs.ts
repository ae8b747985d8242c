import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Failure } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';
import { readAttempt } from '../lineage/attempt.ts';
import type { Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation, type Terminal } from './command.ts';
import { findRun, keysOfRun } from './find-run.ts';
import { attemptsHere, logPath } from './job-logs.ts';

const lookMs = 300;

/** What the jobs of a stage wrote; with -f until the newest attempt has ended. */
export const command: Command = {
  async run(invocation) {
    const { terminal, json, env, cwd } = invocation;
    const choice = parseChoice(invocation.args);
    const paths = homePaths(env, cwd);
    const store = openHomeStore(paths);
    const { key, attempt } = await findJob(choice, { store, work: paths.work, invocation });
    const hasEnded = async (): Promise<boolean> =>
      !choice.isFollowed || (await readAttempt(store.documents, key, attempt)) !== undefined;
    const sink = json ? collect() : undefined;
    await copyLog(logPath(paths.work, key, attempt), sink?.terminal ?? terminal, hasEnded);
    if (sink !== undefined)
      terminal.out(`${JSON.stringify({ stage: choice.stage, key, attempt, log: sink.text() })}\n`);
    return exitCodes.ok;
  },
};

interface LogChoice {
  run: string;
  stage: string;
  isFollowed: boolean;
  attempt: number | undefined;
}

function parseChoice(args: string[]): LogChoice {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { follow: { type: 'boolean', short: 'f', default: false }, attempt: { type: 'string' } },
  });
  const [run, stage, ...more] = positionals;
  if (run === undefined || stage === undefined || more.length > 0)
    throw new UsageError('expected a run (or `last`) and a stage');
  const attempt = values.attempt === undefined ? undefined : Number(values.attempt);
  return { run, stage, isFollowed: values.follow, attempt };
}

interface Around {
  store: Store;
  work: string;
  invocation: Invocation;
}

/** The attempt asked for, else the newest that was started on this host. */
async function findJob(
  choice: LogChoice,
  { store, work, invocation }: Around,
): Promise<{ key: StageKey; attempt: number }> {
  const run = await findRun(store, choice.run);
  if (!run.plan.stages.some((planned) => planned.name === choice.stage))
    throw new UsageError(`run ${run.started.run} has no stage ${choice.stage}`);
  const key = (await keysOfRun(store, run, invocation.installation.root)).get(choice.stage);
  const attempts = key === undefined ? [] : await attemptsHere(work, key);
  const attempt = choice.attempt ?? attempts[0];
  if (key !== undefined && attempt !== undefined && attempts.includes(attempt)) return { key, attempt };
  throw new Failure('NOT_FOUND', `${choice.stage}: no job of it was started on this host`, {
    retryable: false,
  });
}

async function copyLog(
  path: string,
  terminal: Pick<Terminal, 'out'>,
  hasEnded: () => Promise<boolean>,
): Promise<void> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return;
  try {
    const buffer = Buffer.alloc(1 << 16);
    const decoder = new TextDecoder();
    for (let isLast = false; ;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead > 0) terminal.out(decoder.decode(buffer.subarray(0, bytesRead), { stream: true }));
      else if (isLast) return;
      else if (await hasEnded()) isLast = true;
      else await sleep(lookMs);
    }
  } finally {
    await file.close();
  }
}

function collect(): { terminal: Pick<Terminal, 'out'>; text: () => string } {
  const parts: string[] = [];
  return { terminal: { out: (text) => void parts.push(text) }, text: () => parts.join('') };
}
