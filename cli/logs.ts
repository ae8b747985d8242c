import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Failure } from '../core/errors.ts';
import type { StageKey } from '../core/keys.ts';
import { readAttempt } from '../lineage/attempt.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Terminal } from './command.ts';
import { findRun, keysOfRun } from './find-run.ts';
import { attemptsHere, logPath } from './job-logs.ts';

const lookMs = 300;

/** What the jobs of a stage wrote; with -f until the newest attempt has ended. */
export const command: Command = {
  async run({ args, env, cwd, terminal, installation, json }) {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { follow: { type: 'boolean', short: 'f', default: false }, attempt: { type: 'string' } },
    });
    const [name, stage, ...more] = positionals;
    if (name === undefined || stage === undefined || more.length > 0)
      throw new UsageError('expected a run (or `last`) and a stage');
    const paths = homePaths(env, cwd);
    const store = openHomeStore(paths.root);
    const run = await findRun(store, name);
    if (!run.plan.stages.some((planned) => planned.name === stage))
      throw new UsageError(`run ${run.started.run} has no stage ${stage}`);
    const key = (await keysOfRun(store, run, installation.root)).get(stage);
    const attempts = key === undefined ? [] : await attemptsHere(paths.work, key);
    const attempt = values.attempt === undefined ? attempts[0] : Number(values.attempt);
    if (key === undefined || attempt === undefined || !attempts.includes(attempt)) {
      throw new Failure('NOT_FOUND', `${stage}: no job of it was started on this host`, { retryable: false });
    }
    const hasEnded = async (): Promise<boolean> =>
      (await readAttempt(store.documents, key, attempt)) !== undefined;
    const sink = json ? collect() : undefined;
    await copyLog(
      logPath(paths.work, key, attempt),
      sink?.terminal ?? terminal,
      values.follow ? hasEnded : () => Promise.resolve(true),
    );
    if (sink !== undefined)
      terminal.out(`${JSON.stringify({ stage, key: key satisfies StageKey, attempt, log: sink.text() })}\n`);
    return exitCodes.ok;
  },
};

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
