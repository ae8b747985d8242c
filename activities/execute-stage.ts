import { CancelledFailure } from '@temporalio/common';
import { rm } from 'node:fs/promises';
import { Failure, isFailure } from '../core/errors.ts';
import type { KeyDocument } from '../core/keys.ts';
import { writeAttempt, type AttemptPredicate } from '../lineage/attempt.ts';
import { beganAtMs } from './began-at.ts';
import { checkAllowed } from './check-allowed.ts';
import { commandCpus } from './cpu-slots.ts';
import { collectOutputs } from './collect-outputs.ts';
import type { ActivityDeps } from './deps.ts';
import { importArtifact } from './import/import-artifact.ts';
import { commandFor, ranksOf } from './job-command.ts';
import { readEnvironment } from './job-events.ts';
import { keepLogs } from './keep-logs.ts';
import { readKeyDocument } from './key-document.ts';
import { kindNamed } from '../kinds/registry.ts';
import type { Launcher } from './launchers/launcher.ts';
import { maskSecrets } from './mask-secrets.ts';
import { prepareJob } from './prepare-job.ts';
import { lookUpStage } from './look-up-stage.ts';
import { publishStage } from './publish-stage.ts';
import type { AttemptEnd, Outputs, StageRequest } from './stage-request.ts';
import { superviseJob, type Pulse } from './supervise-job.ts';
import { takeAttempt, type TakenAttempt } from './take-attempt.ts';

/** One attempt at a stage, with all that its steps need. */
export interface Work {
  deps: ActivityDeps;
  request: StageRequest;
  document: KeyDocument;
  pulse: Pulse;
  launcher: Launcher;
}

/**
 * One attempt: takes the key's next lease, or goes on with the job of the newest one if that is
 * still at work or done; leaves the outputs in the store and a note of how it went. The record is
 * written by `publishStage`, on the control pool: here and now if this is it.
 */
export async function executeStage(
  deps: ActivityDeps,
  request: StageRequest,
  pulse: Pulse,
): Promise<AttemptEnd> {
  if (!request.isControlPool) return await makeOutputs(deps, request, pulse);
  const known = await lookUpStage(deps, request);
  if (known !== undefined) return { kind: 'published', result: { kind: 'cached', outputs: known } };
  const end = await makeOutputs(deps, request, pulse);
  try {
    return { kind: 'published', result: await publishStage(deps, request) };
  } catch (error) {
    // Computing is done and noted; `run-stage` tries publishing again, apart from it.
    if (isFailure(error)) return end;
    throw error;
  }
}

async function makeOutputs(deps: ActivityDeps, request: StageRequest, pulse: Pulse): Promise<AttemptEnd> {
  const document = await readDocument(deps, request);
  await checkAllowed(deps, request, document);
  const work: Work = { deps, request, document, pulse, launcher: launcherOf(deps, request, document) };
  const taken = await takeAttempt(work);
  if (taken.kind === 'stored') return { kind: 'stored' };
  try {
    const outputs = document.kind === 'import' ? await importArtifact(work) : await runJob(work, taken);
    await note(work, taken, { startedAt: await startOf(work, taken), outcome: 'done', outputs });
  } catch (error) {
    await noteFailure(work, taken, error);
    throw error;
  }
  await tidy(work, taken);
  return { kind: 'stored' };
}

function launcherOf({ launcherFor }: ActivityDeps, request: StageRequest, { kind }: KeyDocument): Launcher {
  const { runner } = kindNamed(kind);
  return launcherFor({
    runner: runner === 'inline' ? 'node' : runner,
    ranks: runner === 'engine' ? ranksOf(request.resources) : 1,
  });
}

async function runJob(work: Work, taken: TakenAttempt): Promise<Outputs> {
  const { deps, request, document } = work;
  const { folder } = taken;
  const giveBack = work.launcher.usesThisHost
    ? await deps.cpuSlots.take(cpusOf(work), work.pulse.signal)
    : () => undefined;
  try {
    if (taken.kind === 'new') {
      await prepareJob(work, taken);
      await work.launcher.start(folder, commandFor(deps, request, { document, folder }));
    }
    await superviseJob(work, taken);
  } finally {
    giveBack();
    await maskSecrets(work, folder);
  }
  return await collectOutputs(work, folder);
}

function cpusOf({ request, document }: Work): number {
  return document.kind === 'command' && request.resources.cpus === 1 ? commandCpus : request.resources.cpus;
}

async function readDocument(deps: ActivityDeps, request: StageRequest): Promise<KeyDocument> {
  const document = await readKeyDocument(deps.store, request.key);
  const here = deps.versions[document.kind];
  if (here === document.version) return document;
  throw new Failure(
    'VERSION_MISMATCH',
    `${request.stage} asks for ${document.kind} version ${document.version}, this worker has ${here ?? 'none'}`,
  );
}

/** An attempt whose outputs the store could not take now is not over: it is found again. */
function isUnfinished(error: unknown, { pulse }: Work): boolean {
  return isFailure(error, 'STORE_UNAVAILABLE') || (isFailure(error, 'NODE_LOST') && pulse.signal.aborted);
}

async function noteFailure(work: Work, taken: TakenAttempt, error: unknown): Promise<void> {
  if (isUnfinished(error, work)) return;
  const failure =
    error instanceof CancelledFailure
      ? ({ code: 'PREEMPTED', message: error.message } as const)
      : isFailure(error)
        ? { code: error.code, message: error.message }
        : ({ code: 'ENGINE_BUG', message: String(error) } as const);
  const startedAt = await startOf(work, taken);
  await note(work, taken, { startedAt, outcome: 'failed', failure }).catch(() => undefined);
}

/** One that never left its scheduler's queue has cost nothing. */
async function startOf({ launcher }: Work, { folder, startedAt }: TakenAttempt): Promise<string> {
  return new Date((await beganAtMs(launcher, folder, startedAt)) ?? Date.now()).toISOString();
}

type Ending = Pick<AttemptPredicate, 'startedAt' | 'outcome' | 'failure' | 'outputs'>;

async function note(work: Work, taken: TakenAttempt, ending: Ending): Promise<void> {
  const { deps, request, document, launcher } = work;
  const ranOn = await readEnvironment(taken.folder.events);
  const attempt: AttemptPredicate = {
    schema: 'fretsaw/attempt/v1',
    key: request.key,
    run: request.run,
    stage: request.stage,
    attempt: taken.folder.attempt,
    finishedAt: new Date().toISOString(),
    host: deps.host,
    launcher: launcher.name,
    code: deps.codes[document.kind] ?? request.key,
    versions: { ...deps.tools, ...ranOn.versions },
    resources: { ...request.resources, ...ranOn.machine },
    ...(taken.resume === undefined
      ? {}
      : { resumedFrom: { attempt: taken.resume.attempt, step: taken.resume.step } }),
    ...ending,
    ...(await jobEnd(work, taken)),
  };
  const isNew = await writeAttempt(deps.store.documents, attempt);
  if (isNew) await deps.metrics.attempted(request, attempt, deps.store);
}

const lastLines = 20;

/** How the job itself ended, whatever came of the attempt. An import has none. */
async function jobEnd(
  work: Work,
  { folder }: TakenAttempt,
): Promise<Pick<AttemptPredicate, 'exit' | 'lastLines' | 'logs'>> {
  const exit = await folder.readExit();
  const log = await folder.tailLog(lastLines);
  const logs = await keepLogs(work, folder);
  return {
    ...(exit === undefined ? {} : { exit }),
    ...(log === '' ? {} : { lastLines: log.split('\n').map((line) => line.slice(0, 500)) }),
    ...(logs === undefined ? {} : { logs }),
  };
}

/** What is in the store need not lie here as well; log, events and job file stay for people. */
async function tidy({ deps }: Work, { folder }: TakenAttempt): Promise<void> {
  if (deps.keepJobFiles) return;
  await Promise.all(folder.bulky.map((path) => rm(path, { recursive: true, force: true })));
}
