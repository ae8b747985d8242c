import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Failure } from '../core/errors.ts';
import { listFinished } from '../lineage/run.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { findRun, keysOfRun } from './find-run.ts';
import { AttemptLog, attemptsOf, type LogPlaces } from './stage-log.ts';

const lookMs = 300;

/** What the jobs of a stage wrote, on any host; with -f over all attempts to come, until the stage has ended. */
export const command: Command = {
  async run(invocation) {
    const choice = parseChoice(invocation.args);
    const places = await placesOf(choice, invocation);
    const attempts = await attemptsOf(places);
    const first = choice.attempt ?? attempts.at(-1);
    if (first === undefined || !attempts.includes(first))
      throw new Failure('NOT_FOUND', `${choice.stage}: no job of it was started yet`, { retryable: false });
    const { terminal, json } = invocation;
    const parts: string[] = [];
    const write = (text: string): void => {
      if (json) parts.push(text);
      else terminal.out(text);
    };
    const follow = { choice, write, isOver: () => isOver(places, places.run) };
    await followAttempts(places, first, follow);
    const { stage } = choice;
    if (json)
      terminal.out(`${JSON.stringify({ stage, key: places.key, attempt: first, log: parts.join('') })}\n`);
    return exitCodes.ok;
  },
};

interface LogChoice {
  run: string;
  stage: string;
  isFollowed: boolean;
  attempt: number | undefined;
}

interface Places extends LogPlaces {
  run: string;
}

interface Follow {
  choice: LogChoice;
  write: (text: string) => void;
  isOver: () => Promise<boolean>;
}

async function followAttempts(places: Places, first: number, follow: Follow): Promise<void> {
  for (let attempt = first; ;) {
    await showAttempt(new AttemptLog(places, attempt), follow);
    if (!follow.choice.isFollowed) return;
    const next = await nextAttempt(places, attempt, follow.isOver);
    if (next === undefined) return;
    follow.write(`-- attempt ${next}\n`);
    attempt = next;
  }
}

async function showAttempt(log: AttemptLog, { choice, write }: Follow): Promise<void> {
  if (!log.isHere) {
    while (choice.isFollowed && (await log.end()) === undefined) await sleep(lookMs);
    write(await log.readStored());
    return;
  }
  for (;;) {
    const hasEnded = !choice.isFollowed || (await log.end()) !== undefined;
    write(log.read());
    if (hasEnded) return;
    await sleep(lookMs);
  }
}

/** Undefined when there will be none: the stage has its record, or the run is over. */
async function nextAttempt(
  places: Places,
  attempt: number,
  isOver: () => Promise<boolean>,
): Promise<number | undefined> {
  for (;;) {
    const wasOver = await isOver();
    const next = (await attemptsOf(places)).find((other) => other > attempt);
    if (next !== undefined || wasOver) return next;
    await sleep(lookMs);
  }
}

async function isOver({ store, key }: LogPlaces, run: string): Promise<boolean> {
  if ((await store.records.latest(key)) !== undefined) return true;
  return (await listFinished(store.documents, run)).length > 0;
}

async function placesOf(choice: LogChoice, { env, cwd, installation }: Invocation): Promise<Places> {
  const paths = homePaths(env, cwd);
  const store = openHomeStore(paths);
  const run = await findRun(store, choice.run);
  if (!run.plan.stages.some((planned) => planned.name === choice.stage))
    throw new UsageError(`run ${run.started.run} has no stage ${choice.stage}`);
  const key = (await keysOfRun(store, run, installation.root)).get(choice.stage);
  if (key === undefined)
    throw new Failure('NOT_FOUND', `${choice.stage}: what it reads is not made yet`, { retryable: false });
  return { store, work: paths.work, key, run: run.started.run };
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
